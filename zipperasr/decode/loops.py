"""Output that runs in circles: found in tokens or words, and cut.

In: a sequence. Out: how often some n-gram stands in a row, and where that starts.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

LOOP_TIMES = 4  # an n-gram so often in a row is a loop
LONGEST = 20  # of the n-grams looked at
COMPRESSION = 2.4  # text that zlib makes so many times smaller repeats itself (Whisper's threshold)


class Loop(NamedTuple):
    """units[start : start + times * size] is one n-gram, `times` times."""

    start: int
    size: int
    times: int


def longest_loop(units: Sequence) -> Loop:
    """The n-gram that stands most often in a row, the shortest of several; times is 0 where there are no units."""
    best = Loop(0, min(1, len(units)), min(1, len(units)))
    for size in range(1, min(LONGEST, len(units) // 2) + 1):
        run = 0
        for place, (first, second) in enumerate(zip(units, units[size:], strict=False)):
            run = run + 1 if first == second else 0
            if 1 + run // size > best.times:
                best = Loop(place + 1 - run, size, 1 + run // size)
    return best


def cut_loop(units: Sequence, loop: Loop) -> Sequence:
    """Everything to the end of the n-gram's first time."""
    return units[: loop.start + loop.size]


def compression_ratio(text: str) -> float:
    """Bytes of UTF-8 before over after zlib; short texts grow, and are below 1."""
    raw = text.encode("utf-8")
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0
