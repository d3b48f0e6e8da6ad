"""What report.html contains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PageSettings:
    """What the page contains.

    Attributes:
        audio: "copy" or "none".
        audio_utts: utterances per test set whose audio is copied: those with the most errors.
        max_utts: largest number of utterances in the page, counted once per system.
        word_times: add times and confidences of the words of utterances with audio, if the model has an aligner.
    """

    audio: str = "copy"
    audio_utts: int = 100
    max_utts: int = 1_000_000
    word_times: bool = True
