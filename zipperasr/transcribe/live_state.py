"""How a live transcriber is doing: the time in which it had work, and exceptions of the model."""

from __future__ import annotations

import time

MANY_FAILURES = 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0


class DecodingFailed(RuntimeError):
    """The model raised an exception while it computed a batch with this recording; the log has its traceback."""


class BusyTime:
    """Time in which there was something to do."""

    def __init__(self) -> None:
        self._began, self._idle_s = time.monotonic(), 0.0
        self._idle_since: float | None = None

    def start(self) -> None:
        """Note that there is something to do."""
        if self._idle_since is not None:
            self._idle_s += time.monotonic() - self._idle_since
            self._idle_since = None

    def stop(self) -> None:
        """Note that there is nothing to do."""
        if self._idle_since is None:
            self._idle_since = time.monotonic()

    @property
    def seconds(self) -> float:
        now, since = time.monotonic(), self._idle_since
        return now - self._began - self._idle_s - (0.0 if since is None else now - since)


class Failures:
    """Exceptions since the last result. A GPU that has failed raises at once, again and again."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def pause_s(self) -> float:
        """How long to wait before the next attempt; twice as long after each exception."""
        return min(FIRST_PAUSE_S * 2 ** (self.count - 1), LONGEST_PAUSE_S) if self.count else 0.0

    @property
    def are_many(self) -> bool:
        """Whether something other than a recording must be wrong."""
        return self.count >= MANY_FAILURES
