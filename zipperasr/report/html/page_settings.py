"""What may be chosen of the page, by stage 9 and by the page's own command alike."""

from __future__ import annotations

import argparse
from typing import NamedTuple

AUDIO = ("copy", "none")


class Settings(NamedTuple):
    """Named as the options."""

    audio: str = "copy"
    audio_utts: int = 100  # of each test set: those with the most errors
    max_utts: int = 1_000_000  # counted once for each system

    @classmethod
    def of(cls, options: argparse.Namespace) -> Settings:
        return cls(*(getattr(options, name) for name in cls._fields))


def add_settings(options: argparse.ArgumentParser) -> None:
    """An option for each."""
    default = Settings()
    options.add_argument("--audio", choices=AUDIO, default=default.audio, help="copy audio beside report.html, or not")
    options.add_argument(
        "--audio_utts",
        type=int,
        default=default.audio_utts,
        help="utterances of each test set whose audio is copied, those with the most errors in any system",
    )
    options.add_argument(
        "--max_utts",
        type=int,
        default=default.max_utts,
        help="utterances in report.html at most, over all systems; test sets beyond it have scores alone",
    )
