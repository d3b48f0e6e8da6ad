"""A bounded first-in, first-out queue: one request at a time uses the model.

Blocking functions run in a thread, so the event loop stays responsive. If a request is cancelled, its work does not
start, or stops where it checks its `stop` event.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from zipperasr.serve.errors import busy

Result = TypeVar("Result")


class GivenUp(Exception):
    """The request was cancelled; its transcript is not needed."""


def give_up_if(stop: threading.Event) -> None:
    """Raise GivenUp if `stop` is set."""
    if stop.is_set():
        raise GivenUp


def retrieve_exception(work: asyncio.Future) -> None:
    """Callback of a future that may no longer be awaited: asyncio would log its exception as never retrieved."""
    if not work.cancelled():
        work.exception()


class ModelQueue:
    """One request that is processed and up to `max_waiting` that wait."""

    def __init__(self, max_waiting: int):
        self.max_waiting, self.num_held = max_waiting, 0
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

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
        if self.num_held > self.max_waiting:
            raise busy(f"{self.num_held} requests are being processed or waiting")

    async def run(self, work: Callable[[threading.Event], Result]) -> Result:
        """Run `work(stop)` in the model's thread; `stop` is set if the request is cancelled."""
        stop = threading.Event()
        future = self._pool.submit(work, stop)
        try:
            return await asyncio.wrap_future(future)  # if this coroutine is cancelled first, it never starts
        finally:
            stop.set()

    def close(self) -> None:
        """Accept no more work; running work stops where it checks its event."""
        self._pool.shutdown(wait=False, cancel_futures=True)
