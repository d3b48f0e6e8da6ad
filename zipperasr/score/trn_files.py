"""NIST's transcript form: `words (speaker-utterance)`, one line per utterance.

In: scored utterances. Out: ref.trn and hyp.trn that sclite reads with `-i rm`, ids as ESPnet writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from zipperasr.score.test_set import ScoredUtterance

SIDES = {"ref.trn": "reference", "hyp.trn": "hypothesis"}


def speaker_of(utterance: ScoredUtterance) -> str:
    """The speaker as it stands in a trn id: with `-i rm` it ends at the first hyphen, so it must hold none."""
    return utterance.speaker.replace("-", "_")


def trn_id(utterance: ScoredUtterance) -> str:
    """`(speaker-utterance)`."""
    return f"({speaker_of(utterance)}-{utterance.id})"


def trn_line(utterance: ScoredUtterance, side: str) -> str:
    """side: reference or hypothesis."""
    return f"{' '.join(getattr(utterance, side))} {trn_id(utterance)}\n"


def write_trn(directory: Path, utterances: Iterable[ScoredUtterance]) -> None:
    """Write ref.trn and hyp.trn into `directory`."""
    with ExitStack() as stack:
        opened = {
            side: stack.enter_context((directory / name).open("w", encoding="utf-8", newline="\n"))
            for name, side in SIDES.items()
        }
        for utterance in utterances:
            for side, stream in opened.items():
                stream.write(trn_line(utterance, side))
