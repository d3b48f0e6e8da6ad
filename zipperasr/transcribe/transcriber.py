"""Recordings to transcripts with a trained model: cut, detect the language, decode, join.

In: recordings of any length. Out: one `Transcript` each, in their order. Pieces of several recordings are decoded
together; an hour of audio needs no more memory than a few batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from zipperasr.data.audio import SAMPLE_RATE
from zipperasr.decode.config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.model.config import REGIMES
from zipperasr.model.pretrained import Pretrained, load_pretrained
from zipperasr.model.segments import segment_frames
from zipperasr.transcribe.detect import LanguageDetector
from zipperasr.transcribe.sources import Recording

AUTO = "auto"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Segment:
    """A piece of a recording, between two pauses."""

    start_s: float
    end_s: float
    text: str
    note: str = ""  # why there is no text, or what to know of it


@dataclass(frozen=True)
class Transcript:
    """What was recognised of one recording."""

    text: str
    lang: str  # code of the language table
    lang_probs: dict[str, float] = field(default_factory=dict)  # by code, where the language was detected
    segments: tuple[Segment, ...] = ()
    duration_s: float = 0.0

    @property
    def notes(self) -> list[str]:
        return [
            f"{segment.start_s:.1f}-{segment.end_s:.1f} s: {segment.note}" for segment in self.segments if segment.note
        ]


@dataclass
class _Job:
    """A recording while its pieces are under way."""

    recording: Recording
    lang: str = ""
    lang_probs: dict[str, float] = field(default_factory=dict)
    segments: dict[int, Segment] = field(default_factory=dict)
    pieces: int | None = None  # None: not all of it has been read
    failure: Exception | None = None

    @property
    def done(self) -> bool:
        return self.pieces == len(self.segments)

    def transcript(self) -> Transcript:
        segments = tuple(self.segments[number] for number in range(self.pieces or 0))
        text = " ".join(segment.text for segment in segments if segment.text)
        return Transcript(text, self.lang, self.lang_probs, segments, segments[-1].end_s if segments else 0.0)


class Transcriber:
    """A model ready to use.

    Args:
        opened: a trained model. config: how it decodes. regime: how its encoder sees speech; None: as in training.
    """

    def __init__(self, opened: Pretrained, config: DecodeConfig | None = None, regime: str | None = None):
        self.opened, self.languages = opened, opened.languages
        settings = opened.experiment.model
        regime = regime or opened.experiment.regime
        if regime not in REGIMES:
            raise ValueError(f"unknown regime {regime!r}; choose from {', '.join(REGIMES)}")
        chunk_frames = segment_frames(settings.decode_chunk_s) if regime == "chunked" else None
        self.config = config or DecodeConfig(retry_loops=True)
        self._decoder = Decoder(opened.model, opened.tokenizer, self.config, chunk_frames)
        self._detector: LanguageDetector | None = None

    @classmethod
    def from_pretrained(
        cls, path: str | Path, device: str | None = None, config: DecodeConfig | None = None, regime: str | None = None
    ) -> Transcriber:
        """Open a training directory or a bundle. device: cuda where there is one, else cpu.

        Raises FileNotFoundError or ValueError that says what is missing.
        """
        config = config or DecodeConfig(retry_loops=True)
        opened = load_pretrained(path, DTYPES[config.precision])
        opened.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(opened, config, regime)

    @property
    def detector(self) -> LanguageDetector:
        """The original Whisper, loaded when it is first needed."""
        if self._detector is None:
            self._detector = LanguageDetector(self.opened)
        return self._detector

    def __call__(self, audio: str | Path | np.ndarray, lang: str = AUTO, rate: int = SAMPLE_RATE) -> Transcript:
        """Transcribe one recording: a path, or samples (num_samples[, channels]) at `rate`.

        Raises ValueError for a language outside the model's set or audio that cannot be decoded, OSError.
        """
        ((_, found),) = self.transcribe(
            [Recording(str(audio) if isinstance(audio, str | Path) else "audio", audio, rate)], lang
        )
        if isinstance(found, Exception):
            raise found
        return found

    def transcribe(
        self, recordings: Iterable[Recording], lang: str = AUTO
    ) -> Iterator[tuple[Recording, Transcript | Exception]]:
        """Each recording with its transcript, or with what made it impossible, in their order, as soon as may be."""
        self._check(lang)
        jobs: list[_Job] = []
        first = 0
        for decoded in self._decode(self._pieces(recordings, lang, jobs)):
            if decoded is not None:
                job, number, piece = decoded.example.utt_id
                job.segments[number] = Segment(piece.start_s, piece.end_s, decoded.text, decoded.note)
            while first < len(jobs) and (jobs[first].done or jobs[first].failure):
                job, jobs[first] = jobs[first], None
                first += 1
                yield job.recording, job.failure or job.transcript()
