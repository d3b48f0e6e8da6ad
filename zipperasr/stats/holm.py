"""Holm's correction for several tests (Scandinavian Journal of Statistics 6, 1979).

In: p-values. Out: adjusted p-values, to be compared with the level itself; no assumption of independence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """The k-th smallest of m, times m - k + 1, never below those before it nor above 1; in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted.tolist()
