"""The files of a score directory, written as the utterances come.

In: scored utterances in the order of their ids. Out: ref.trn, hyp.trn, audit.jsonl (texts before and after
normalisation, alignment, flags); result.txt at the end, since sclite puts its summary first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from zipperasr.score.result import Result
from zipperasr.score.test_set import ScoredUtterance
from zipperasr.score.trn_files import SIDES, trn_line


class ScoreFiles:
    """Writes while it is entered."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._stack = ExitStack()

    def __enter__(self) -> ScoreFiles:
        def opened(name: str):
            return self._stack.enter_context((self._directory / name).open("w", encoding="utf-8", newline="\n"))

        self._trn = {side: opened(name) for name, side in SIDES.items()}
        self._audit = opened("audit.jsonl")
        self._result = self._stack.enter_context(Result(self._directory / "result.txt"))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)

    def add(self, utterances: Sequence[ScoredUtterance]) -> None:
        for utterance in utterances:
            for side, stream in self._trn.items():
                stream.write(trn_line(utterance, side))
            self._audit.write(json.dumps(asdict(utterance), ensure_ascii=False) + "\n")
            self._result.add(utterance)
