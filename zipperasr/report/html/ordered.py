"""A sorted Kaldi table read in step with other sorted tables.

In: `key value` lines in the order of their keys, as stage 2 writes them. Out: the value of the key asked for. One line
is held; keys must be asked for in their order.
"""

from __future__ import annotations

from pathlib import Path

from zipperasr.datadir.entry import key_and_value
from zipperasr.text_lines import numbered_lines


class Ordered:
    """Values by ascending keys."""

    def __init__(self, path: Path):
        self._path = path
        self._lines = numbered_lines(path)
        self._key, self._value = "", ""

    def value(self, key: str) -> str:
        """The value of `key`, which sorts behind those asked for before. Raises ValueError if there is none."""
        while self._key < key:
            _, line = next(self._lines, (0, None))
            if line is None:
                break
            self._key, self._value = key_and_value(line)
        if self._key != key:
            raise ValueError(f"{self._path}: no line for id {key!r} in the order of ids; sort it, or rerun stage 2")
        return self._value

    def number(self, key: str) -> float:
        """As `value`, a finite number from 0."""
        text = self.value(key)
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0.0 <= number < float("inf"):
            raise ValueError(f"{self._path}: id {key!r}: got {text!r}, wanted a number; rerun stage 2")
        return number
