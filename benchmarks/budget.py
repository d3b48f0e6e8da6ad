"""How many rounds a benchmark measures: the requested number, or fewer if its time runs out first."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator


class Budget:
    """Time limit for all measurements of a benchmark, in seconds. 0: no limit."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds if seconds else math.inf

    def is_spent(self) -> bool:
        return time.monotonic() >= self._end

    def rounds(self, warmup: int, wanted: int, parts_left: int = 1) -> Iterator[bool]:
        """Yield False for each warm-up round and True for each measured round, of which there is at least one.

        Stops before a round that would exceed the limit if it took as long as the previous one. `parts_left` is the
        number of measurements, including this one, that share the remaining time.
        """
        started = time.monotonic()
        deadline = started + (self._end - started) / parts_left
        for number in range(warmup + wanted):
            now = time.monotonic()
            if number > warmup and now + (now - started) > deadline:
                return
            started = now
            yield number >= warmup


def rounds_note(made: int, wanted: int) -> str:
    """`median of 5 rounds`, and how many rounds were skipped."""
    skipped = f" ({wanted - made} of {wanted} skipped for lack of time)" if made < wanted else ""
    return f"median of {made} round{'s' * (made != 1)}{skipped}"
