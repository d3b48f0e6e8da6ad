"""Do the work of an iterator in a thread, a few items ahead of who reads it.

In: an iterator. Out: the same items. What leaves Python's lock (reading, features, encoding) goes on beside the search.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], most: int) -> Iterator[Item]:
    """Items of `items`, at most `most` of them waiting; what it raises is raised here."""
    ready: queue.Queue = queue.Queue(most)
    stop = threading.Event()
    failure: list[BaseException] = []

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put(item):
                    break
        except BaseException as error:  # it belongs to the reader's thread
            failure.append(error)
        finally:
            if hasattr(iterator, "close"):
                iterator.close()
            put(_END)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            yield item
        if failure:
            raise failure[0]
    finally:
        stop.set()
        thread.join()
