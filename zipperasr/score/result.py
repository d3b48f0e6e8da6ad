"""result.txt as `sclite -r ref.trn trn -h hyp.trn trn -i rm -o all stdout` prints it.

In: scored utterances of a test set. Out: summary in per cent, summary in counts, alignments. sclite folds case in ids
and words (ASCII letters); speakers stand in order of their first hypothesis.
"""

from __future__ import annotations

from pathlib import Path

from zipperasr.score.sclite.path import Path as Alignment
from zipperasr.score.sclite.system import System
from zipperasr.score.test_set import ScoredUtterance
from zipperasr.score.trn_files import speaker_of, trn_id

TITLE = "hyp.trn"
PARTS = ("sum", "rsum", "pralign")  # of `-o all`


class Result:
    """Takes utterances while it is entered and then writes `path`.

    Args:
        title: the hypothesis file's name as sclite was given it.
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
        self._system.add(_folded(speaker_of(utterance)), _alignment(utterance))


def _alignment(utterance: ScoredUtterance) -> Alignment:
    words = ([_folded(word) for word in side] for side in (utterance.reference, utterance.hypothesis))
    return Alignment(_folded(trn_id(utterance)), *words, utterance.operations)


def _folded(text: str) -> bytes:
    return text.encode().lower()  # bytes: ASCII letters alone
