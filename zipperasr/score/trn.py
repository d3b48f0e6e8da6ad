"""NIST's transcript form: `words (speaker-utterance)`, one line per utterance.

In: scored utterances. Out: ref.trn and hyp.trn that sclite reads with `-i rm`, ids as ESPnet writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zipperasr.score.scored import ScoredUtterance


def speaker_of(utterance: ScoredUtterance) -> str:
    """The speaker as it stands in a trn id: with `-i rm` it ends at the first hyphen, so it must hold none."""
    return utterance.speaker.replace("-", "_")


def trn_id(utterance: ScoredUtterance) -> str:
    """`(speaker-utterance)`."""
    return f"({speaker_of(utterance)}-{utterance.id})"


def write_trn(directory: Path, utterances: Sequence[ScoredUtterance]) -> None:
    """Write ref.trn and hyp.trn into `directory`."""
    for name, side in (("ref.trn", "reference"), ("hyp.trn", "hypothesis")):
        with (directory / name).open("w", encoding="utf-8", newline="\n") as stream:
            for utterance in utterances:
                stream.write(f"{' '.join(getattr(utterance, side))} {trn_id(utterance)}\n")
