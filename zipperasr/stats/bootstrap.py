"""Percentile intervals of error rates by resampling a test set (Bisani and Ney, ICASSP 2004).

In: errors and reference units per utterance. Out: measured and resampled rates, 95 % intervals. Draws depend only on
the name and size of the test set, so all systems are resampled alike and differences are paired. They are generated in
blocks; those of small sets are cached for the next system.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLINGS = 1000
# With 10 speakers 88 of 100 intervals contained the true rate, with 5 only 81 (docs/significance.md).
FEWEST_SPEAKERS = 10
BLOCK_CELLS = 1 << 22  # 32 MiB of draws
MOST_KEPT = 10_000  # rows: 10 MB of draws


@dataclass(frozen=True)
class Resampled:
    """Error rates of several systems in per cent, measured (row 0) and on each resampling."""

    rates: np.ndarray  # (1 + RESAMPLINGS, systems)
    by: str  # utterance | speaker
    num: int  # number of utterances or speakers

    def interval(self, system: int = 0) -> tuple[float, float]:
        """95 % interval of a system's error rate."""
        return percentiles(self.rates[1:, system])

    def difference(self, one: int, other: int) -> tuple[float, float, float]:
        """Rate of `other` minus that of `one`, and its paired 95 % interval."""
        difference = self.rates[:, other] - self.rates[:, one]
        return float(difference[0]), *percentiles(difference[1:])


def resample(name: str, errors: np.ndarray, units: np.ndarray, speakers: np.ndarray) -> Resampled:
    """Resample test set `name`: whole speakers if at least FEWEST_SPEAKERS are known, else utterances.

    errors: (utts, systems); units, speakers: (utts,). If every utterance has its own speaker, the corpus names no
    speakers. All rates are nan without reference units.
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
    """How often each of `num` items is drawn: blocks of (resamplings, num) float, RESAMPLINGS rows in total."""
    for times in [_kept_draws(name, num)] if num <= MOST_KEPT else _draws(name, num):
        for rows in np.array_split(times, -(-times.size // BLOCK_CELLS)):
            yield rows.astype(np.float64)


@functools.lru_cache(maxsize=32)
def _kept_draws(name: str, num: int) -> np.ndarray:
    # A byte is enough: the probability of drawing one item 256 times is below 1e-500.
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
