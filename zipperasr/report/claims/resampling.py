"""Error rates of a decoding on resampled utterances, and 95 % intervals over seeds and utterances.

In: stage 8's audit files. Out: arrays with the measured value first, followed by the value on each resampled test set
(Bisani and Ney, ICASSP 2004). A test set is resampled alike for all systems and seeds, so differences of arrays are
paired, and any statistic of arrays has an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from zipperasr.stats.bootstrap import resampled_rates
from zipperasr.stats.utterance_errors import read_audit


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % interval."""

    value: float
    low: float
    high: float
    seeds: int


def replicated_rates(audit: Path) -> np.ndarray:
    """Error rate in per cent, measured and on each resampling: (1 + RESAMPLINGS,). Each utterance counts once.

    Raises ValueError with file and line.
    """
    found = read_audit(audit)
    return resampled_rates(audit.parent.parent.name, np.column_stack([found.errors, found.units]))[:, 0]


def estimate(by_seed: Sequence[np.ndarray]) -> Estimate:
    """Mean over seeds with its interval over seeds and utterances.

    by_seed: the statistic of each seed, measured and on each resampling; of length 1 if it has no utterances.
    """
    table = np.stack(by_seed)
    return interval(table[:, 0], table[:, 1:].mean(0).var(ddof=1) if table.shape[1] > 2 else 0.0)


def interval(by_seed: np.ndarray, of_utterances: float) -> Estimate:
    """Mean over seeds and its 95 % interval: Student's t with Welch and Satterthwaite's degrees of freedom.

    of_utterances: variance of the mean over resampled utterances, added to its variance over seeds.
    """
    num_seeds = len(by_seed)
    of_seeds = by_seed.var(ddof=1) / num_seeds if num_seeds > 1 else 0.0
    variance = of_seeds + of_utterances
    freedom = variance**2 * (num_seeds - 1) / of_seeds**2 if of_seeds > 0 else np.inf
    reach = float(stats.t.ppf(0.975, freedom) * np.sqrt(variance))
    value = float(by_seed.mean())
    return Estimate(value, value - reach, value + reach, num_seeds)
