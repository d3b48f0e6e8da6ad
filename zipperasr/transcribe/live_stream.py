"""Streams whose pieces share batches with other streams and with recordings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.segments import SAMPLES_PER_MEL_FRAME
from zipperasr.batching.batch import Example
from zipperasr.decode.chunk_cache import ChunkCache
from zipperasr.decode.decoder import Decoded
from zipperasr.transcribe.fair_queue import LiveRequest
from zipperasr.transcribe.pauses import Piece
from zipperasr.transcribe.pcm import PcmReader
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.stream import Partial
from zipperasr.transcribe.transcript import Job, Segment

if TYPE_CHECKING:
    from zipperasr.transcribe.live import LiveTranscriber

_NOTHING = np.zeros(0, dtype=np.float32)


class StreamCancelled(Exception):
    """The stream, or the `LiveTranscriber`, ended while a piece was being decoded."""


@dataclass(eq=False)
class StreamPiece(LiveRequest):
    """The beginning of a segment, or a whole one: a request of one piece. Its future gets a `Decoded`."""

    cache: ChunkCache = field(default_factory=ChunkCache)

    @classmethod
    def of(cls, example: Example, cache: ChunkCache) -> tuple[StreamPiece, Example]:
        """Return it with its example, whose id is unique as long as the piece exists."""
        piece = cls(Job(Recording("stream", _NOTHING), example.language), is_prepared=True, cache=cache)
        return piece, replace(example, utt_id=f"stream {id(piece)}")

    def to_encode(self, example: Example) -> int:
        return max(0, example.num_samples - self.cache.num_frames * SAMPLES_PER_MEL_FRAME)


class LiveStream:
    """One stream. One thread at a time may call its methods; `cancel` may come from another.

    Args:
        rate: of the raw samples, in Hz.
        by_hand: only `commit` and the longest length end segments, not pauses.
        closing: called in the thread of `feed` with a segment that has ended, before its text is known.

    Raises ValueError for a language outside the model's set, and for the regime full.
    """

    def __init__(
        self,
        live: LiveTranscriber,
        lang: str,
        rate: int = SAMPLE_RATE,
        *,
        by_hand: bool = False,
        closing: Callable[[Piece], None] = lambda _: None,
    ):
        self._live, self._closing, self._pcm = live, closing, PcmReader(rate)
        self.stream = live.transcriber.stream(lang, self._decode, by_hand)
        self._guard = threading.Lock()
        self._decoding: Future[Decoded] | None = None
        self._is_cancelled = False
        self._ready: list[Partial | Segment] = []

    def feed(self, data: bytes, is_behind: Callable[[], bool] = lambda: False) -> list[Partial | Segment]:
        """Append raw 16-bit samples and return what is ready. is_behind: see `Stream.feed`.

        Raises DecodingFailed. If a segment has ended (`stream.closed`), `stream.drop` gives it up; otherwise only a
        partial text is missing. Raises StreamCancelled. What was ready before is returned by `take` or the next call.
        """
        self._ready.extend(self.stream.feed(self._pcm.read(data), is_behind))
        return self.take()

    def commit(self) -> list[Partial | Segment]:
        """End the open segment and return what is ready. Raises as `feed`."""
        self._ready.extend(self.stream.feed(self._pcm.flush()))
        self._ready.extend(self.stream.finish())
        return self.take()

    def take(self) -> list[Partial | Segment]:
        """Return what was ready before an exception."""
        ready, self._ready = self._ready, []
        return ready

    def clear(self) -> None:
        """Forget the open segment."""
        self._pcm.flush()
        self.stream.drop()

    def cancel(self) -> None:
        """Free the row of the piece that is being decoded; `feed` and `commit` then raise StreamCancelled."""
        with self._guard:
            self._is_cancelled = True
            if self._decoding is not None:
                self._decoding.cancel()

    def _decode(self, example: Example, cache: ChunkCache) -> Decoded:
        piece = self.stream.closed
        if piece is not None:
            self._closing(piece)
        with self._guard:
            if self._is_cancelled:
                raise StreamCancelled
            self._decoding = self._live.decode(example, cache)
        try:
            return self._decoding.result()
        except CancelledError as error:
            raise StreamCancelled from error
