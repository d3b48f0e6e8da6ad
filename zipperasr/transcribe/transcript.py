"""Transcripts, and the bookkeeping while the pieces of a recording are decoded in any order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from zipperasr.transcribe.sources import Recording


@dataclass(frozen=True)
class Segment:
    """A piece of a recording between two pauses."""

    start_s: float
    end_s: float
    text: str
    note: str = ""  # why there is no text, or how it was shortened


@dataclass(frozen=True)
class Transcript:
    """The text of one recording."""

    text: str
    lang: str  # language code; empty if the recording is silent and no language was given
    lang_probs: dict[str, float] = field(default_factory=dict)  # by code, if the language was detected
    segments: tuple[Segment, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.segments[-1].end_s if self.segments else 0.0

    @property
    def notes(self) -> list[str]:
        """Notes of the segments with their times."""
        return [f"{part.start_s:.1f} to {part.end_s:.1f} s: {part.note}" for part in self.segments if part.note]


@dataclass
class Job:
    """A recording whose pieces are being decoded."""

    recording: Recording
    lang: str  # empty until detected
    lang_probs: dict[str, float] = field(default_factory=dict)
    segments: dict[int, Segment] = field(default_factory=dict)  # decoded pieces by number
    num_pieces: int | None = None  # None until the recording has been read to its end
    failure: Exception | None = None

    @property
    def done(self) -> bool:
        return self.num_pieces is not None and (self.failure is not None or self.num_pieces == len(self.segments))

    def result(self) -> Transcript | Exception:
        if self.failure is not None:
            return self.failure
        segments = tuple(self.segments[number] for number in range(self.num_pieces or 0))
        text = " ".join(segment.text for segment in segments if segment.text)
        return Transcript(text, self.lang, self.lang_probs, segments)


class Pending(NamedTuple):
    """The recording and piece of an example."""

    job: Job
    number: int  # of the piece in the recording
    start_s: float
    end_s: float
