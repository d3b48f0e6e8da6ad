"""Transcripts, and the bookkeeping while the pieces of a recording are decoded in any order."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from zipperasr.decode.alternatives import Alternatives
from zipperasr.decode.phrases import PhraseTrie
from zipperasr.spacing import join_texts
from zipperasr.transcribe.sources import Recording

if TYPE_CHECKING:
    from zipperasr.decode.spotted import Spotter  # with torch, which `zipperasr transcribe --help` does without


class Token(NamedTuple):
    """Whole characters of a text, mostly one token of the language model, else several."""

    text: str  # with spaces
    logprob: float  # natural, of all of them
    llm_tokens: int = 1  # how many they are


@dataclass(frozen=True)
class Word:
    """A word, or a character in languages that are scored by characters."""

    text: str
    confidence: float | None = None  # 0 to 1
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Segment:
    """A piece of a recording between two pauses, without the silence at its edges if the model was trained so."""

    start_s: float
    end_s: float
    text: str
    note: str = ""  # why there is no text, or how it was shortened
    words: tuple[Word, ...] = ()
    avg_logprob: float | None = None  # natural, per token of the language model, its end token included
    tokens: tuple[Token, ...] = ()
    alternatives: Alternatives = ()  # of beam search with nbest > 1; the first is `text`

    def as_fields(self) -> dict[str, Any]:
        """The segment for JSON: without tokens, and without alternatives if there are none."""
        fields = asdict(self)
        del fields["tokens"], fields["alternatives"]
        alternatives = [one._asdict() for one in self.alternatives]
        return fields | ({"alternatives": alternatives} if alternatives else {})


@dataclass(frozen=True)
class Transcript:
    """The text of one recording."""

    text: str
    lang: str  # language code; empty if the recording is silent and no language was given
    lang_probs: dict[str, float] = field(default_factory=dict)  # by code, if the language was detected
    segments: tuple[Segment, ...] = ()
    duration_s: float = 0.0  # of the recording

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
    duration_s: float = 0.0  # of what has been read
    num_pieces: int | None = None  # None until the recording has been read to its end
    failure: Exception | None = None
    phrases: PhraseTrie | Spotter | None = field(default=None, repr=False)  # what the search prefers

    @property
    def done(self) -> bool:
        return self.num_pieces is not None and (self.failure is not None or self.num_pieces == len(self.segments))

    def result(self) -> Transcript | Exception:
        if self.failure is not None:
            return self.failure
        segments = tuple(self.segments[number] for number in range(self.num_pieces or 0))
        text = join_texts([segment.text for segment in segments])
        return Transcript(text, self.lang, self.lang_probs, segments, self.duration_s)


class Pending(NamedTuple):
    """The recording and piece of an example."""

    job: Job
    number: int  # of the piece in the recording
    start_s: float
    end_s: float
