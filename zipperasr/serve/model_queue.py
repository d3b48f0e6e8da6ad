"""Admission of requests: a bounded number is processed or waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from zipperasr.serve.errors import busy, shutting_down


def retrieve_exception(work: asyncio.Future) -> None:
    """Callback of a future that may no longer be awaited: asyncio would log its exception as never retrieved."""
    if not work.cancelled():
        work.exception()


class ModelQueue:
    """Requests that are processed or wait: at most `most`, and no further ones once it is closed."""

    def __init__(self, most: int):
        self.most, self.num_held, self.is_closed = most, 0, False

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot from the end of an upload to its response. Raises ApiError if none is free."""
        self.check_free()
        self.num_held += 1
        try:
            yield
        finally:
            self.num_held -= 1

    def check_free(self) -> None:
        """Raise ApiError if no slot is free."""
        if self.is_closed:
            raise shutting_down()
        if self.num_held >= self.most:
            raise busy(f"{self.num_held} requests are being processed or waiting")


class Stoppable(Protocol):
    """A stream of audio."""

    def stop(self) -> None: ...


class StreamSlots:
    """Open streams: at most `most`, each of which holds a slot of the queue as well.

    Streams never hold all slots of the queue, unless it has only one.
    """

    def __init__(self, queue: ModelQueue, most: int):
        self._queue, self.most = queue, min(most, max(1, queue.most - 1))
        self.open: set[Stoppable] = set()
        self.pool = ThreadPoolExecutor(self.most, thread_name_prefix="stream")

    @contextmanager
    def slot(self, stream: Stoppable) -> Iterator[None]:
        """Hold a slot. Raises ApiError if none is free."""
        if len(self.open) >= self.most:
            raise busy(f"{len(self.open)} streams are open")
        with self._queue.slot():
            self.open.add(stream)
            try:
                yield
            finally:
                self.open.discard(stream)

    def stop(self) -> None:
        """Let all streams transcribe what they have received, and end."""
        for stream in list(self.open):
            stream.stop()

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
