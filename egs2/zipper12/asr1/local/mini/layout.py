"""What all layouts of the mini corpora share: their interface, and encoding of audio files."""

from __future__ import annotations

import random
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from local.mini.espeak import SAMPLE_RATE_HZ

OPUS_COMPRESSION = 0.8  # 56 kbit/s: half the encoding time of the default 19 kbit/s


@dataclass(frozen=True)
class Spoken:
    """One synthesised sentence."""

    written: str
    samples: np.ndarray  # int16, 16 kHz


@dataclass(frozen=True)
class Record:
    """One utterance's entry in the metadata files."""

    id: str
    speaker: str
    split: str
    kind: str
    text: str
    audio: str  # below the corpus's (language's) directory
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def plain(text: str) -> str:
    """Return lower case without punctuation, except apostrophes and hyphens within words, as in MLS."""
    kept = "".join(ch if ch in "'’-" or not unicodedata.category(ch).startswith("P") else " " for ch in text)
    return " ".join(word.strip("'’-") for word in kept.lower().split())


class Layout:
    """One corpus's layout."""

    @staticmethod
    def write_audio(
        root: Path, language: str, split: str, kind: str, speaker: int, spoken: list[Spoken], rng: random.Random
    ) -> list[Record]:
        """Write one speaker's audio; called in many processes."""
        raise NotImplementedError

    @staticmethod
    def write_metadata(root: Path, language: str, records: list[Record]) -> None:
        """Write the metadata files of one language; called once, after all audio is written."""
        raise NotImplementedError

    @staticmethod
    def paths(language: str) -> tuple[str, ...]:
        """Return the files and directories below the root that belong to the language."""
        raise NotImplementedError

    @staticmethod
    def train_shares(train_split: str) -> dict[str, float]:
        """Return the share of the training utterances in each split on disk; `train_split` joins names by +."""
        splits = train_split.split("+")
        return {split: 1 / len(splits) for split in splits}


def write_encoded(path: Path, samples: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> float:
    """Encode by the path's suffix; returns the duration in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = len(samples) / SAMPLE_RATE_HZ
    if rate_hz != SAMPLE_RATE_HZ:
        samples = soxr.resample(samples, SAMPLE_RATE_HZ, rate_hz, quality="MQ")
    if path.suffix == ".opus":
        soundfile.write(path, samples, rate_hz, format="OGG", subtype="OPUS", compression_level=OPUS_COMPRESSION)
    elif path.suffix == ".mp3":
        soundfile.write(path, samples, rate_hz, format="MP3", compression_level=0.99)
    else:
        soundfile.write(path, samples, rate_hz)
    return seconds
