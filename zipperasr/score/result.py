"""result.txt as `sclite -r ref.trn trn -h hyp.trn trn -i rm -o all stdout` prints it.

In: scored utterances of a test set. Out: summary in per cent, summary in counts, alignments. sclite folds case in ids
and words (ASCII letters); speakers stand in order of their first hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zipperasr.score.sclite.path import Path as Alignment
from zipperasr.score.sclite.system import System
from zipperasr.score.scored import ScoredUtterance
from zipperasr.score.trn import speaker_of, trn_id

TITLE = "hyp.trn"
PARTS = ("sum", "rsum", "pralign")  # of `-o all`


def write_result(path: Path, utterances: Sequence[ScoredUtterance], title: str = TITLE) -> None:
    """Write the three parts of `-o all`; `title` is the hypothesis file's name as sclite was given it."""
    system = System(title.encode(), frozenset(PARTS))
    try:
        for utterance in utterances:
            system.add(_folded(speaker_of(utterance)), _alignment(utterance))
        with path.open("wb") as stream:
            for part in PARTS:
                system.write(part, stream)
    finally:
        system.close()


def _alignment(utterance: ScoredUtterance) -> Alignment:
    words = ([_folded(word) for word in side] for side in (utterance.reference, utterance.hypothesis))
    return Alignment(_folded(trn_id(utterance)), *words, utterance.operations)


def _folded(text: str) -> bytes:
    return text.encode().lower()  # bytes: ASCII letters alone
