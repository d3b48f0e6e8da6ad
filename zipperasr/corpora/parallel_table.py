"""Look up keys in a file that is read in parallel with another one in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ParallelTable(Generic[Value]):
    """Values by key. Only rows that were passed are kept, so that a file in the same order takes no memory."""

    def __init__(self, rows: Iterator[tuple[str, Value]]):
        self._rows = rows
        self._passed: dict[str, Value] = {}

    def get(self, key: str) -> Value | None:
        """Return the value of `key`, once; None if the file does not have it."""
        if key in self._passed:
            return self._passed.pop(key)
        for other, value in self._rows:
            if other == key:
                return value
            self._passed[other] = value
        return None

    def rest(self) -> Iterator[str]:
        """Yield the keys that were not looked up."""
        yield from self._passed
        yield from (key for key, _ in self._rows)
