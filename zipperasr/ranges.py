"""Check that the numbers of a configuration are within their bounds; NaN and infinity never are.

A configuration dataclass lists its bounds in one table and calls `check_ranges` in `__post_init__`.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from zipperasr.yaml_text import shown


class Range(NamedTuple):
    """low <= value <= high; with `above`, low < value."""

    low: float = -sys.maxsize
    high: float = sys.maxsize
    above: bool = False

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        low, high = f"{self.low:g}", f"{self.high:g}"
        if self.high < sys.maxsize:
            return f"a number above {low}, at most {high}" if self.above else f"{low} to {high}"
        if self.low == -sys.maxsize:
            return "a finite number"
        return f"a finite number above {low}" if self.above else f"at least {low} and finite"


POSITIVE = Range(0, above=True)
NOT_NEGATIVE = Range(0)
COUNT = Range(1)
SHARE = Range(0, 1)


def check_ranges(config: Any, ranges: dict[str, Range]) -> None:
    """Raise ValueError for the first field outside its range. Checks each number of a tuple; None is allowed."""
    for name, bounds in ranges.items():
        value = getattr(config, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not bounds.holds(number):
                wanted = f"at most {sys.maxsize:,}" if sys.maxsize < number < float("inf") else str(bounds)
                raise ValueError(f"{name}: got {shown(number)}, wanted {wanted}")
