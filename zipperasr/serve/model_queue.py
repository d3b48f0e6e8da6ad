"""One request at a time on the model; the others wait in their order, in bounds.

In: functions that block. Out: their results, while the event loop goes on. Who gives up waiting has its work stopped:
before it starts, or where the work itself looks.
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
    """Nobody waits for this transcript."""


def give_up_if(stop: threading.Event) -> None:
    """Raises GivenUp once `stop` is set."""
    if stop.is_set():
        raise GivenUp


class ModelQueue:
    """Places for one request at work and `max_waiting` more."""

    def __init__(self, max_waiting: int):
        self.max_waiting, self.num_held = max_waiting, 0
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Held from the end of an upload to its answer. Raises ApiError if none is free."""
        self.check_free()
        self.num_held += 1
        try:
            yield
        finally:
            self.num_held -= 1

    def check_free(self) -> None:
        """Raises ApiError if no place is free."""
        if self.num_held > self.max_waiting:
            raise busy(f"{self.num_held} requests are at work or waiting")

    async def run(self, work: Callable[[threading.Event], Result]) -> Result:
        """`work(stop)` in the model's thread; `stop` is set if nobody waits for it any more."""
        stop = threading.Event()
        future = self._pool.submit(work, stop)
        try:
            return await asyncio.wrap_future(future)  # cancelled with this coroutine: it then never starts
        finally:
            stop.set()

    def close(self) -> None:
        """No more work; what is running ends where it looks."""
        self._pool.shutdown(wait=False, cancel_futures=True)
