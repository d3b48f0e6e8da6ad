"""How many rounds a benchmark measures: as many as it was asked for, fewer if its time runs out first."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator


class Budget:
    """Seconds for everything that a benchmark measures. 0: no limit."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds if seconds else math.inf

    def is_spent(self) -> bool:
        return time.monotonic() >= self._end

    def rounds(self, warmup: int, wanted: int, parts_left: int = 1) -> Iterator[bool]:
        """Yields False for each warm-up round and True for each measured one, at least one of them.

        Stops before a round that would end too late if it took as long as the last one. parts_left: how many
        measurements, this one included, share the time that is left.
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
    """`median of 5 rounds`, and how many were left out."""
    left_out = f" ({wanted - made} of {wanted} left out for lack of time)" if made < wanted else ""
    return f"median of {made} round{'s' * (made != 1)}{left_out}"
