"""Transcribe recordings that arrive at any time, in batches that they share.

One thread cuts recordings, detects languages and computes features; another searches in an endless stream, and a third
encodes for it: as soon as rows of the search are free, it takes the next pieces. No transcript depends on other
recordings.
"""

from __future__ import annotations

import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from itertools import count

import numpy as np

from zipperasr.batching.batch import Example
from zipperasr.cli import log
from zipperasr.decode.chunk_cache import ChunkCache
from zipperasr.decode.decoder import Decoded
from zipperasr.decode.hooks import Hooks
from zipperasr.decode.phrases import Phrase
from zipperasr.transcribe.defaults import AUTO
from zipperasr.transcribe.fair_queue import FairQueue, LiveRequest, next_turn
from zipperasr.transcribe.live_state import BusyTime, DecodingFailed, Failures
from zipperasr.transcribe.live_stream import StreamPiece
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.transcriber import Transcriber
from zipperasr.transcribe.transcript import Job, Segment, Transcript

ENCODED_AT_ONCE_S = 30.0  # audio in a batch of the encoder; with 15 s, throughput and latencies on a CPU are the same
LONGEST_WAIT_S = 0.1  # for a batch, until the stream yields that there is none
PREPARED_S = ENCODED_AT_ONCE_S  # audio of a request, rounded up to a piece, that is prepared before its turn


class _Closed(Exception):
    """Ends the decoding."""


class LiveTranscriber:
    """Uses a transcriber, alone, until closed.

    max_running: requests whose pieces share batches; others wait, first in, first out. Raises ValueError for a
    transcriber with soft=True. With beam search, or an LLM that only transformers can decode, a batch ends before the
    next one is taken.
    """

    def __init__(self, transcriber: Transcriber, max_running: int):
        if not transcriber.can_share_batches:
            raise ValueError("recordings that share batches need soft=False: a batch has the adapters of one language")
        self.transcriber, self.max_running, self.rows = transcriber, max_running, transcriber.config.batch_size
        self._changed = threading.Condition()  # guards what follows
        self._waiting: deque[LiveRequest] = deque()
        self._running: deque[LiveRequest] = deque()  # the one whose last turn of preparation is longest ago first
        self._pieces: set[LiveRequest] = set()  # of streams
        self._queue = FairQueue()
        self._decoding: dict[str, LiveRequest] = {}  # in the encoder or the search, by the id of the example
        self._is_closed = False
        self._busy, self._failures = BusyTime(), Failures()
        works = (self._prepare, self._decode)
        self._threads = [threading.Thread(target=work, name=f"live {work.__name__}", daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    @property
    def num_waiting(self) -> int:
        """Requests of which nothing has been processed."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def rows_in_use(self) -> int:
        """Pieces in the encoder and the search."""
        return len(self._decoding)

    @property
    def is_failing(self) -> bool:
        """Whether the model has raised many exceptions since its last result."""
        return self._failures.are_many

    @property
    def busy_s(self) -> float:
        """Seconds in which the model had something to decode."""
        with self._changed:
            return self._busy.seconds

    def submit(
        self,
        samples: np.ndarray,
        lang: str = AUTO,
        hints: tuple[Phrase, ...] = (),
        on_segment: Callable[[Segment], None] = lambda _: None,
    ) -> LiveRequest:
        """Transcribe a recording.

        Args:
            samples: (num_samples,), 16 kHz.
            lang: a language code of the model, or `auto`.
            hints: phrases that may be said.
            on_segment: called with each segment, in order, when it and those before it are decoded; it must be quick.

        The request's future gets the transcript, DecodingFailed, or the exception that made the recording unusable.
        """
        job = Job(Recording("recording", samples, hints=hints), "" if lang == AUTO else lang)
        request = LiveRequest(job, on_segment)
        request.examples = self.transcriber.examples(request.job, request.pending)
        self._enter(request, lambda: self._waiting.append(request))
        return request

    def decode(self, example: Example, cache: ChunkCache) -> Future[Decoded]:
        """Decode a piece of a stream, which is scheduled like a request with one piece.

        cache: holds its earlier chunks. The future gets the result or DecodingFailed; cancelling it frees the row.
        """
        piece, example = StreamPiece.of(example, cache)

        def add() -> None:
            self._pieces.add(piece)
            self._queue.add(piece, example)

        self._enter(piece, add)
        return piece.future

    def _enter(self, request: LiveRequest, add: Callable[[], None]) -> None:
        with self._changed:
            if self._is_closed:
                request.future.cancel()
                return
            add()
            self._changed.notify_all()
        known = weakref.ref(request)  # without a cycle, so that finished recordings are freed at once
        request.future.add_done_callback(lambda _: self._remove(known()))

    def refuse_waiting(self, error: Exception) -> None:
        """End all requests of which nothing has been processed with this exception."""
        with self._changed:
            waiting = list(self._waiting)
        for request in waiting:
            self._answer(request, error)

    def close(self) -> None:
        """Cancel all requests; returns after the current token, or batch of the encoder or of beam search."""
        with self._changed:
            self._is_closed = True
            left = [*self._waiting, *self._running, *self._pieces]
            self._changed.notify_all()
        for request in left:
            request.future.cancel()
        for thread in self._threads:
            thread.join()

    def _prepare(self) -> None:
        while (request := self._next_to_prepare()) is not None:
            request.started = request.started or time.monotonic()
            try:
                self._prepare_next(request)
            except BaseException as error:  # raised again where the future is awaited
                self._answer(request, error)

    def _prepare_next(self, request: LiveRequest) -> None:
        """Prepare a piece, or note that there is none left."""
        example = next(request.examples, None)
        with self._changed:
            if request.future.done():
                return
            if example is None:
                request.is_prepared = True
            else:
                self._queue.add(request, example)
                self._changed.notify_all()
        self._answer_if_done(request)

    def _next_to_prepare(self) -> LiveRequest | None:
        """Wait for a request with pieces to prepare; None once closed."""
        with self._changed:
            while not self._is_closed:
                while self._waiting and len(self._running) < self.max_running:
                    self._running.append(self._waiting.popleft())
                if (request := next_turn(self._running, PREPARED_S)) is not None:
                    return request
                self._changed.wait()
        return None

    def _decode(self) -> None:
        hooks = Hooks(
            check=self._check,
            phrases=lambda example: self._decoding[example.utt_id].job.phrases,
            cache=self._cache_of,
            failed=self._fail_batch,
            is_dropped=self._is_dropped,
        )
        while not self._is_closed:
            try:
                with closing(self.transcriber.decode_live((self._take() for _ in count()), hooks)) as found:
                    for decoded in found:
                        self._keep(decoded)
            except _Closed:
                return
            except BaseException as error:  # others must be answered
                failed, self._decoding = set(self._decoding.values()), {}
                self._fail(failed, error)
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed, self._failures.pause_s)

    def _keep(self, decoded: Decoded) -> None:
        """Keep the result of a piece; an exception ends its request alone."""
        self._failures.count = 0
        request = self._leave(decoded.example)
        if isinstance(request, StreamPiece):
            self._answer(request, decoded)
            return
        try:
            self.transcriber.keep(decoded, request.pending.pop(decoded.example.utt_id))
            self._answer_if_done(request)
        except BaseException as error:  # others continue
            self._fail({request}, error)

    def _fail_batch(self, batch: Sequence[Example], error: Exception) -> None:
        self._fail({self._leave(example) for example in batch}, error)

    def _fail(self, requests: set[LiveRequest], error: BaseException) -> None:
        self._failures.count += 1
        log("".join(traceback.format_exception(error)))
        for request in requests:
            self._answer(request, DecodingFailed(type(error).__name__))

    def _take(self) -> list[Example] | None:
        """The next batch for the encoder. Waits for pieces and for rows of the search, but not for long; then None."""
        with self._changed:
            self._changed.wait_for(self._can_take, LONGEST_WAIT_S)
            self._check()
            taken = self._queue.take(self.rows - len(self._decoding), ENCODED_AT_ONCE_S)
            for request, example in taken:
                self._decoding[example.utt_id] = request
            self._changed.notify_all()
        return sorted((example for _, example in taken), key=lambda one: one.edge_frames) or None  # few encoder parts

    def _can_take(self) -> bool:
        """Whether there is a batch, or nothing to wait for. Also notes since when there is nothing to do."""
        if self._queue:
            self._busy.start()
        elif not self._decoding:
            self._busy.stop()
        return self._is_closed or (len(self._queue) > 0 and len(self._decoding) < self.rows)

    def _check(self) -> None:
        if self._is_closed:
            raise _Closed

    def _is_dropped(self, example: Example) -> bool:
        """Whether the request of a piece has ended; its row is then freed."""
        if not self._decoding[example.utt_id].future.done():
            return False
        self._leave(example)
        return True

    def _leave(self, example: Example) -> LiveRequest:
        """Free the row of a piece."""
        with self._changed:
            self._changed.notify_all()
            return self._decoding.pop(example.utt_id)

    def _cache_of(self, example: Example) -> ChunkCache | None:
        return request.cache if isinstance(request := self._decoding[example.utt_id], StreamPiece) else None

    def _answer_if_done(self, request: LiveRequest) -> None:
        with self._changed:
            request.tell_segments()  # locked, so in order
            is_done = request.is_prepared and request.job.done
        if is_done:
            self._answer(request, request.job.result())

    def _answer(self, request: LiveRequest, result: Transcript | Decoded | BaseException) -> None:
        """Give a request its result unless it has ended."""
        if not self._remove(request) or not request.future.set_running_or_notify_cancel():
            return
        request.started = request.started or time.monotonic()
        if isinstance(result, BaseException):
            request.future.set_exception(result)
        else:
            request.future.set_result(result)

    def _remove(self, request: LiveRequest | None) -> bool:
        """Remove a request and its pieces, except those being decoded; False if it had been removed."""
        with self._changed:
            for requests in (self._waiting, self._running, self._pieces):
                if request is not None and request in requests:
                    requests.remove(request)
                    self._queue.discard(request)
                    self._changed.notify_all()
                    return True
        return False
