"""Percentile intervals of error rates by resampling a test set (Bisani and Ney, ICASSP 2004).

In: errors and reference units per utterance. Out: rates measured and resampled, 95 % intervals. The draws follow from
the test set's name and size alone, so all systems are resampled alike and differences are paired; they are made and
used a block at a time; those of small sets are kept for the next system.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLINGS = 1000
# With 10 speakers 88 of 100 intervals held the truth, with 5 only 81 (docs/significance.md).
FEWEST_SPEAKERS = 10
BLOCK_CELLS = 1 << 22  # 32 MiB of draws
MOST_KEPT = 10_000  # rows: 10 MB of draws


@dataclass(frozen=True)
class Resampled:
    """Error rates of several systems in per cent, measured (row 0) and on each resampling."""

    rates: np.ndarray  # (1 + RESAMPLINGS, systems)
    by: str  # utterance | speaker
    num: int  # utterances or speakers there are

    def interval(self, system: int = 0) -> tuple[float, float]:
        """95 % interval of a system's error rate."""
        return percentiles(self.rates[1:, system])

    def difference(self, one: int, other: int) -> tuple[float, float, float]:
        """Rate of `other` less that of `one`, and its paired 95 % interval."""
        difference = self.rates[:, other] - self.rates[:, one]
        return float(difference[0]), *percentiles(difference[1:])


def resample(name: str, errors: np.ndarray, units: np.ndarray, speakers: np.ndarray) -> Resampled:
    """Resample test set `name`: whole speakers where FEWEST_SPEAKERS are known, else utterances.

    errors: (utts, systems); units, speakers: (utts,). A speaker per utterance is a corpus that names none. All rates
    are nan where there is no reference unit.
    """
    table = np.column_stack([errors, units])
    _, member, sizes = np.unique(speakers, return_inverse=True, return_counts=True)
    by_speaker = len(sizes) >= FEWEST_SPEAKERS and sizes.max() > 1
    if by_speaker:
        table = np.column_stack([np.bincount(member, column) for column in table.T])
    return Resampled(resampled_rates(name, table), "speaker" if by_speaker else "utterance", len(table))


def resampled_rates(name: str, table: np.ndarray) -> np.ndarray:
    """100 * errors / units, measured and resampled: (1 + RESAMPLINGS, systems).

    table: (utterances or speakers, systems + 1), the units in the last column.
    """
    sums = resampled_sums(name, table)
    if not sums[0, -1]:
        return np.full((1 + RESAMPLINGS, table.shape[1] - 1), np.nan)
    return 100 * sums[:, :-1] / np.maximum(sums[:, -1:], 1)


def resampled_sums(name: str, table: np.ndarray) -> np.ndarray:
    """Column sums, measured and on resampled rows. table: (num, columns); result: (1 + RESAMPLINGS, columns)."""
    table = np.asarray(table, dtype=np.float64)
    return np.concatenate([table.sum(0, keepdims=True), *(times @ table for times in times_drawn(name, len(table)))])


def times_drawn(name: str, num: int) -> Iterator[np.ndarray]:
    """How often each of `num` is drawn, in blocks of resamplings: (some, num) float, RESAMPLINGS rows in all."""
    for times in [_kept_draws(name, num)] if num <= MOST_KEPT else _draws(name, num):
        for rows in np.array_split(times, -(-times.size // BLOCK_CELLS)):
            yield rows.astype(np.float64)


@functools.lru_cache(maxsize=32)
def _kept_draws(name: str, num: int) -> np.ndarray:
    # A byte will do: to be drawn 256 times of as many or more has a probability below 1e-500.
    return np.concatenate([times.astype(np.uint8) for times in _draws(name, num)])


def _draws(name: str, num: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    at_once = max(1, BLOCK_CELLS // num)
    for first in range(0, RESAMPLINGS, at_once):
        yield generator.multinomial(num, np.full(num, 1 / num), size=min(at_once, RESAMPLINGS - first))


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
