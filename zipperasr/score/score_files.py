"""The files of a score directory: ref.trn, hyp.trn, audit.jsonl and result.txt.

In: scored utterances in the order of their ids. Out: both sides in NIST's trn form, which sclite reads with `-i rm`,
ids as ESPnet writes them; audit.jsonl with texts before and after normalisation, alignment and flags; result.txt as
`sclite -r ref.trn trn -h hyp.trn trn -i rm -o all stdout` prints it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from zipperasr.score.sclite.path import Path as Alignment
from zipperasr.score.sclite.system import System
from zipperasr.score.test_set import ScoredUtterance

SIDES = {"ref.trn": "reference", "hyp.trn": "hypothesis"}
TITLE = "hyp.trn"
PARTS = ("sum", "rsum", "pralign")  # of `-o all`


class ScoreFiles:
    """Context manager that writes the four files of `directory`."""

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
        """Write `utterances` to all files."""
        for utterance in utterances:
            for side, stream in self._trn.items():
                stream.write(trn_line(utterance, side))
            self._audit.write(json.dumps(asdict(utterance), ensure_ascii=False) + "\n")
            self._result.add(utterance)


class Result:
    """Context manager that collects utterances and writes sclite's report to `path` on exit.

    Args:
        title: name of the hypothesis file in the report.
    """

    def __init__(self, path: Path, title: str = TITLE):
        self._path = path
        self._system = System(title.encode(), frozenset(PARTS))

    def __enter__(self) -> Result:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                with self._path.open("wb") as stream:
                    for part in PARTS:
                        self._system.write(part, stream)
        finally:
            self._system.close()

    def add(self, utterance: ScoredUtterance) -> None:
        self._system.add(_lower(_speaker(utterance)), _alignment(utterance))


def trn_line(utterance: ScoredUtterance, side: str) -> str:
    """`words (speaker-utterance)` and a newline. side: "reference" or "hypothesis"."""
    return f"{' '.join(getattr(utterance, side))} {_trn_id(utterance)}\n"


def _speaker(utterance: ScoredUtterance) -> str:
    """The speaker without hyphens: with `-i rm` the speaker of a trn id ends at the first hyphen."""
    return utterance.speaker.replace("-", "_")


def _trn_id(utterance: ScoredUtterance) -> str:
    return f"({_speaker(utterance)}-{utterance.id})"


def _alignment(utterance: ScoredUtterance) -> Alignment:
    reference, hypothesis = ([_lower(word) for word in side] for side in (utterance.reference, utterance.hypothesis))
    return Alignment(_lower(_trn_id(utterance)), reference, hypothesis, utterance.operations)


def _lower(text: str) -> bytes:
    """Bytes with ASCII letters in lower case, as sclite folds case."""
    return text.encode().lower()
