"""Transcribe a stream while it arrives: partial texts after each chunk of the encoder, a final one for each segment.

In: 16 kHz samples in blocks of any size. Out: events, which do not depend on these blocks. The text of a segment equals
that of the same samples decoded at once. Memory does not grow with the length of the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
import torch

from zipperasr.audio.load import SAMPLE_RATE, check_samples
from zipperasr.audio.segments import EDGE_FRAMES, SAMPLES_PER_MEL_FRAME
from zipperasr.batching.batch import Example
from zipperasr.batching.loader import ExampleReader
from zipperasr.decode.chunk_cache import ChunkCache
from zipperasr.decode.decoder import Decoded
from zipperasr.languages import Language
from zipperasr.transcribe.pauses import Piece
from zipperasr.transcribe.stream_endpoints import HOP, LEAST_VOICE, Endpoints
from zipperasr.transcribe.transcript import Segment

LOOKAHEAD = EDGE_FRAMES * SAMPLES_PER_MEL_FRAME  # samples after a chunk that its last features depend on


@dataclass(frozen=True)
class Partial:
    """What has been recognised of the open segment."""

    start_s: float
    text: str
    stable: str  # the beginning of `text` that equals that of the partial text before (local agreement)


class Stream:
    """One stream in one language; several can share a model.

    Args:
        decode: decodes an example of which the cache holds earlier chunks.
        chunk_frames: mel frames per chunk of the encoder. Raises ValueError if it has none.
        endpoints: divides the stream into segments.
        segment: makes one of what has been decoded and its start and end in seconds.
    """

    def __init__(
        self,
        decode: Callable[[Example, ChunkCache], Decoded],
        chunk_frames: int | None,
        *,
        read: ExampleReader,
        language: Language,
        endpoints: Endpoints,
        segment: Callable[[Decoded, float, float], Segment],
    ):
        if chunk_frames is None:
            raise ValueError("a stream needs an encoder with chunks; got the regime full, wanted chunked")
        self._decode, self._chunk = decode, chunk_frames
        self._read, self._language, self._endpoints, self._segment = read, language, endpoints, segment
        self.cache = ChunkCache()
        self.num_skipped = 0  # partial texts
        self._rest = np.zeros(0, dtype=np.float32)  # fewer than HOP samples, unless `feed` was interrupted
        self._closed: Piece | None = None  # the segment that has ended, until its result is known
        self._tried = 0  # chunks of the open segment that a partial text has been decoded of, or skipped
        self._text: str | None = None  # the last partial text of the open segment

    @property
    def chunk_s(self) -> float:
        """Seconds of a chunk, after which a partial text follows."""
        return self._chunk * SAMPLES_PER_MEL_FRAME / SAMPLE_RATE

    @property
    def voice_start_s(self) -> float | None:
        """Start of the open segment; None unless it has enough voice to be transcribed."""
        return self._endpoints.start_s if self._endpoints.num_voiced >= LEAST_VOICE else None

    @property
    def closed(self) -> Piece | None:
        """The segment that has ended and whose text is not known yet."""
        return self._closed

    def feed(self, samples: np.ndarray, is_behind: Callable[[], bool] = lambda: False) -> Iterator[Partial | Segment]:
        """Append (num_samples,) of 16 kHz float32 and yield what is ready; what an interruption leaves comes later.

        is_behind: whether a newer chunk has arrived already; then partial texts are skipped.
        Raises ValueError for samples that `check_samples` refuses; none of them are appended.
        """
        self._rest = np.concatenate([self._rest, check_samples(samples, "stream")])
        yield from self._end()
        while len(self._rest) >= HOP:
            hop, self._rest = self._rest[:HOP], self._rest[HOP:]
            self._closed = self._endpoints.add(hop)
            if self._closed is not None:
                yield from self._end()
            elif (partial := self._partial(is_behind)) is not None:
                yield partial

    def finish(self) -> Iterator[Partial | Segment]:
        """End the open segment and yield the rest; what is fed later belongs to the next segment."""
        yield from self.feed(np.zeros(0, dtype=np.float32))
        rest, self._rest = self._rest, self._rest[:0]
        self._closed = self._endpoints.finish(rest)
        yield from self._end()

    def drop(self) -> None:
        """Forget the segment that has ended, or else the open one with all audio that belongs to no segment yet."""
        if self._closed is None:
            self._endpoints.finish(self._rest)
            self._rest = self._rest[:0]
        self._forget()

    def _forget(self) -> None:
        self.cache.clear()
        self._closed, self._tried, self._text = None, 0, None

    def _partial(self, is_behind: Callable[[], bool]) -> Partial | None:
        """Decode the complete chunks of the open segment, if there is a new one."""
        chunk = self._chunk * SAMPLES_PER_MEL_FRAME
        samples = self._endpoints.samples
        if not self._endpoints.is_open or len(samples) < (self._tried + 1) * chunk + LOOKAHEAD:
            return None
        if is_behind():
            self._tried += 1
            self.num_skipped += 1
            return None
        example = self._example(samples)
        num_chunks = (example.num_samples - LOOKAHEAD) // chunk
        if num_chunks <= self._tried:
            return None
        self._tried = num_chunks  # also if decoding fails
        text = self._decode(_beginning(example, num_chunks * self._chunk), self.cache).text
        stable = agreed(self._text or "", text, self._language.unit)
        self._text = text
        return Partial(self._endpoints.start_s + example.start / SAMPLE_RATE, text, stable)

    def _end(self) -> Iterator[Segment]:
        """Yield the closed segment, if any; one that is dropped only if a partial text of it was given."""
        piece = self._closed
        if piece is None:
            return
        is_known = not piece.reason or self._text is not None
        segment = self._final(piece)
        self._forget()
        if is_known:
            yield segment

    def _final(self, piece: Piece) -> Segment:
        if piece.reason:
            return Segment(piece.start_s, piece.end_s, "", piece.reason)
        example = self._example(piece.samples)
        decoded = self._decode(example, self.cache)
        start_s = piece.start_s + example.start / SAMPLE_RATE
        return self._segment(decoded, start_s, start_s + example.num_samples / SAMPLE_RATE)

    def _example(self, samples: np.ndarray) -> Example:
        return self._read.of_audio("stream", self._language.code, torch.from_numpy(samples))


def _beginning(example: Example, frames: int) -> Example:
    """The first mel frames of an example."""
    mel = None if example.mel is None else example.mel[:frames]
    return replace(example, mel=mel, num_samples=frames * SAMPLES_PER_MEL_FRAME, edge_frames=0)


def agreed(previous: str, text: str, unit: str) -> str:
    """The longest common beginning of two texts, in whole words, or in characters if `unit` is cer."""
    between = "" if unit == "cer" else " "
    before, now = (list(one) if unit == "cer" else one.split() for one in (previous, text))
    same = takewhile(lambda pair: pair[0] == pair[1], zip(before, now, strict=False))
    return between.join(part for part, _ in same)
