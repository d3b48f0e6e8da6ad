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

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.segments import EDGE_FRAMES, SAMPLES_PER_MEL_FRAME
from zipperasr.batching.batch import Example
from zipperasr.batching.loader import ExampleReader
from zipperasr.decode.decoder import Decoded, Decoder
from zipperasr.languages import Language
from zipperasr.transcribe.pauses import Piece
from zipperasr.transcribe.stream_chunks import ChunkCache
from zipperasr.transcribe.stream_endpoints import HOP, Endpoints
from zipperasr.transcribe.transcript import Segment

LOOKAHEAD = EDGE_FRAMES * SAMPLES_PER_MEL_FRAME  # samples after a chunk that its last features depend on


@dataclass(frozen=True)
class Partial:
    """What has been recognised of the open segment."""

    start_s: float
    text: str
    stable: str  # the beginning of `text` that equals that of the partial text before (local agreement)


class Stream:
    """One stream in one language; several can share a decoder.

    Args:
        decoder: in the chunked regime. Raises ValueError otherwise.
        endpoints: divides the stream into segments.
        segment: makes one of what has been decoded and its start and end in seconds.
    """

    def __init__(
        self,
        decoder: Decoder,
        read: ExampleReader,
        language: Language,
        endpoints: Endpoints,
        segment: Callable[[Decoded, float, float], Segment],
    ):
        if decoder.chunk_frames is None:
            raise ValueError("a stream needs an encoder with chunks; got the regime full, wanted chunked")
        self._decoder, self._read, self._language, self._endpoints = decoder, read, language, endpoints
        self._segment, self._chunk = segment, decoder.chunk_frames
        self.cache = ChunkCache(decoder.model)
        self._rest = np.zeros(0, dtype=np.float32)  # fewer than HOP samples, unless `feed` was interrupted
        self._closed: Piece | None = None  # the segment that has ended, until its result is known
        self._num_chunks, self._text = 0, ""  # of the last partial text of the open segment

    def feed(self, samples: np.ndarray) -> Iterator[Partial | Segment]:
        """Append (num_samples,) of 16 kHz float32 and yield what is ready; what an interruption leaves comes later."""
        self._rest = np.concatenate([self._rest, samples])
        yield from self._end()
        while len(self._rest) >= HOP:
            hop, self._rest = self._rest[:HOP], self._rest[HOP:]
            self._closed = self._endpoints.add(hop)
            if self._closed is not None:
                yield from self._end()
            elif (partial := self._partial()) is not None:
                yield partial

    def finish(self) -> Iterator[Partial | Segment]:
        """End the stream and yield the rest, its last segment."""
        yield from self.feed(np.zeros(0, dtype=np.float32))
        self._closed = self._endpoints.finish(self._rest)
        yield from self._end()

    def _partial(self) -> Partial | None:
        """Decode the complete chunks of the open segment, if there is a new one."""
        chunk = self._chunk * SAMPLES_PER_MEL_FRAME
        samples = self._endpoints.samples
        if not self._endpoints.is_open or len(samples) < (self._num_chunks + 1) * chunk + LOOKAHEAD:
            return None
        example = self._example(samples)
        num_chunks = (example.num_samples - LOOKAHEAD) // chunk
        if num_chunks <= self._num_chunks:
            return None
        text = self._decode(_beginning(example, num_chunks * self._chunk)).text
        stable = agreed(self._text, text, self._language.unit)
        self._num_chunks, self._text = num_chunks, text
        return Partial(self._endpoints.start_s + example.start / SAMPLE_RATE, text, stable)

    def _end(self) -> Iterator[Segment]:
        """Yield the closed segment, if any; one that is dropped only if a partial text of it was given."""
        piece = self._closed
        if piece is None:
            return
        is_known = not piece.reason or self._num_chunks > 0
        segment = self._final(piece)
        self.cache.clear()
        self._closed, self._num_chunks, self._text = None, 0, ""
        if is_known:
            yield segment

    def _final(self, piece: Piece) -> Segment:
        if piece.reason:
            return Segment(piece.start_s, piece.end_s, "", piece.reason)
        example = self._example(piece.samples)
        decoded = self._decode(example)
        start_s = piece.start_s + example.start / SAMPLE_RATE
        return self._segment(decoded, start_s, start_s + example.num_samples / SAMPLE_RATE)

    def _example(self, samples: np.ndarray) -> Example:
        return self._read.of_audio("stream", self._language.code, torch.from_numpy(samples))

    def _decode(self, example: Example) -> Decoded:
        whole, self._decoder.embed_speech = self._decoder.embed_speech, self.cache.embed_speech
        self._decoder.mixture = lambda _: None
        try:
            (decoded,) = self._decoder.run([[example]])
        finally:
            self._decoder.embed_speech = whole
        return decoded


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
