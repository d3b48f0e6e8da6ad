"""Log where a training is stuck.

In: a call of `beat` after each step. Out: a log line for each interval without one, with the line of this package that
the rank is executing. The watchdog never stops a training.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import FrameType

from zipperasr.cli import log

PACKAGE = str(Path(__file__).resolve().parents[1])


class Watchdog:
    """Context manager that watches the thread that created it. `interval_s: 0` turns it off."""

    def __init__(self, interval_s: float, rank: int):
        self._interval_s, self._rank = interval_s, rank
        self._last = time.monotonic()
        self._step: int | None = None
        self._over = threading.Event()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watchdog:
        if self._interval_s:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def beat(self, step: int) -> None:
        """Report that step `step` is finished."""
        self._last, self._step = time.monotonic(), step

    def _watch(self) -> None:
        reported_s = 0.0
        while not self._over.wait(self._interval_s / 10):
            silent_s = time.monotonic() - self._last
            if silent_s < self._interval_s:
                reported_s = 0.0
            elif silent_s - reported_s >= self._interval_s:
                reported_s = silent_s
                last = "the start" if self._step is None else f"step {self._step}"
                place = _place(sys._current_frames().get(self._watched))
                log(f"watchdog: rank {self._rank}: no step finished for {silent_s:.0f} s since {last}; stuck {place}")


def _place(frame: FrameType | None) -> str:
    """The innermost line of this package in the call stack, and the outside function that it called."""
    inner = frame
    while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "outside zipperasr"
    name = Path(frame.f_code.co_filename).relative_to(PACKAGE)
    called = "" if inner is frame else f", in {inner.f_code.co_name} of {Path(inner.f_code.co_filename).name}"
    return f"at zipperasr/{name}:{frame.f_lineno} {frame.f_code.co_name}{called}"
