"""The probabilities by which NIST's sc_stats decides, with its approximations (SCTK 2.4.10).

In: test statistics. Out: probabilities as sc_stats computes them. They are kept because papers quote its verdicts;
`paired_tests` gives scipy's beside them. docs/significance.md lists where the two part.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binom, norm

ALPHA = 0.05
CRITICAL_Z = 1.960  # two-tailed, 95 %
MOST_EXACT = 20  # trials; beyond, the binomial distribution is approximated
_TABLE = np.arange(515) / 100  # the values of z that its table of the normal distribution has


def normal_cdf(z: float) -> float:
    """The normal distribution at |z|, as a table in steps of 0.01 without interpolation gives it."""
    step = int(np.searchsorted(_TABLE, abs(z), side="right")) - 1
    return round(float(norm.cdf(_TABLE[step])), 7)


def normal_p(z: float) -> float:
    """Two-tailed."""
    return 2 * (1 - normal_cdf(z))


def binomial_p(fewer: int, trials: int) -> float:
    """Two-tailed, of a fair coin that fell `fewer` times on its rarer side; 1 where the sides are equal.

    Beyond MOST_EXACT trials sc_stats halves `fewer` before the normal approximation, which calls every inequality
    significant.
    """
    if 2 * fewer == trials:
        return 1.0
    if trials <= MOST_EXACT:
        return 2 * float(binom.cdf(fewer, trials, 0.5))
    return normal_p((fewer / 2 - trials / 2) / math.sqrt(trials / 4))
