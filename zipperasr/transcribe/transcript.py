"""What was recognised of a recording, and what of it is still under way.

In: texts of its pieces, in any order. Out: one `Transcript`, once all are there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from zipperasr.transcribe.sources import Recording


@dataclass(frozen=True)
class Segment:
    """A piece of a recording, from pause to pause."""

    start_s: float
    end_s: float
    text: str
    note: str = ""  # why there is no text, or what to know of it


@dataclass(frozen=True)
class Transcript:
    """What was recognised of one recording."""

    text: str
    lang: str  # code of the language table; empty where nothing was said and nothing asked for
    lang_probs: dict[str, float] = field(default_factory=dict)  # by code, where the language was detected
    segments: tuple[Segment, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.segments[-1].end_s if self.segments else 0.0

    @property
    def notes(self) -> list[str]:
        """What to know, with times."""
        return [f"{part.start_s:.1f} to {part.end_s:.1f} s: {part.note}" for part in self.segments if part.note]


@dataclass
class Job:
    """A recording while its pieces are decoded."""

    recording: Recording
    lang: str  # empty until it is detected
    lang_probs: dict[str, float] = field(default_factory=dict)
    segments: dict[int, Segment] = field(default_factory=dict)  # those that are ready
    num_pieces: int | None = None  # None: it has not been read to its end
    failure: Exception | None = None

    @property
    def done(self) -> bool:
        return self.num_pieces is not None and (self.failure is not None or self.num_pieces == len(self.segments))

    def result(self) -> Transcript | Exception:
        if self.failure is not None:
            return self.failure
        segments = tuple(self.segments[number] for number in range(self.num_pieces))
        text = " ".join(segment.text for segment in segments if segment.text)
        return Transcript(text, self.lang, self.lang_probs, segments)


class Pending(NamedTuple):
    """Where an example's text belongs."""

    job: Job
    place: int  # among the job's pieces
    start_s: float
    end_s: float
