"""Apply a function to many items in threads or processes, a few items ahead of the results.

In: items, possibly more than fit into memory. Out: results in the order of the items. Only a window of items is in
memory, and a process that is killed ends the run with an error instead of leaving it waiting.
"""

from __future__ import annotations

import ctypes
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeVar

PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)
Item = TypeVar("Item")
Result = TypeVar("Result")

_function: Callable[[Any], Any]  # of this process, if it is one of `processes`


@contextmanager
def processes(
    count: int, function: Callable[[Item], Result], start_method: str = "fork"
) -> Iterator[Callable[[Iterable[Item]], Iterator[Result]]]:
    """Yield `function` for iterables: like `map(function, items)`, computed by `count` processes.

    If `count` is 1, this process computes.

    Args:
        start_method: fork shares what `function` holds; spawn is for libraries that cannot be forked.

    The results raise the function's first error, and ValueError if a process was killed.
    """
    if count <= 1:
        yield partial(map, function)
        return
    context = get_context(start_method)
    with ProcessPoolExecutor(count, context, initializer=_begin, initargs=(function,)) as pool:

        def in_processes(items: Iterable[Item]) -> Iterator[Result]:
            try:
                yield from ahead(pool, _call, items, 2 * count)
            except BrokenProcessPool as error:
                raise ValueError(
                    "a process was killed, as happens when memory runs out (see dmesg); use fewer processes (--nj)"
                ) from error

        yield in_processes


def ahead(pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], window: int) -> Iterator[Result]:
    """Yield function(item) in order, while `pool` works on the next `window` items. Raises the first error."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _begin(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # after Ctrl-C, the parent reports it, and this process only ends
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a parent that is killed leaves nobody who still writes


def _call(item: Any) -> Any:
    return _function(item)
