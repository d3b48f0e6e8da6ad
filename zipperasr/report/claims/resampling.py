"""Error rates of a decoding on resampled utterances, and 95 % intervals over seeds and utterances.

In: the audit files that stage 8 leaves. Out: arrays whose first element is the measured value and whose others are the
same on resampled test sets (Bisani and Ney, ICASSP 2004). A test set is resampled alike for all systems and seeds, so a
difference of two arrays is a paired difference, and any statistic of arrays can be given an interval.
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
    """Mean over seeds; Student's interval with Welch and Satterthwaite's degrees of freedom.

    by_seed: for each seed the statistic, measured and on each resampling; of length 1 where no utterance is behind it.
    The variance is that of the mean over seeds, plus that of this mean over resampled utterances.
    """
    table = np.stack(by_seed)
    num_seeds = len(table)
    of_seeds = table[:, 0].var(ddof=1) / num_seeds if num_seeds > 1 else 0.0
    of_utterances = table[:, 1:].mean(0).var(ddof=1) if table.shape[1] > 2 else 0.0
    variance = of_seeds + of_utterances
    freedom = variance**2 * (num_seeds - 1) / of_seeds**2 if of_seeds > 0 else np.inf
    reach = float(stats.t.ppf(0.975, freedom) * np.sqrt(variance))
    value = float(table[:, 0].mean())
    return Estimate(value, value - reach, value + reach, num_seeds)
