"""Run an iterator in a thread, a few items ahead of its reader.

In: an iterator. Out: the same items, or None instead of waiting for one. Work that releases Python's lock (reading,
features, encoding) overlaps with the search.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], most: int, waits: Callable[[], bool] = lambda: True) -> Iterator[Item | None]:
    """Yield the items of `items`, at most `most` in advance; its exceptions are raised here.

    waits: called before each item; if it returns False and no item is ready, None is yielded.
    """
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
        except BaseException as error:  # raised again in the reader's thread
            failure.append(error)
        try:
            if hasattr(iterator, "close"):
                iterator.close()
        except BaseException as error:
            failure.append(error)
        put(_END)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := _get(ready, waits())) is not _END:
            yield item
        if failure:
            error = failure[0]
            failure.clear()  # the error knows this frame: what it refers to would stay in memory
            try:
                raise error
            finally:
                del error
    finally:
        stop.set()
        thread.join()


def _get(ready: queue.Queue, wait: bool) -> object:
    try:
        return ready.get(wait)
    except queue.Empty:
        return None
