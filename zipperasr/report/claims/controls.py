"""Controls beside the claims: what the paper's systems must be seen against, though the paper does not.

In: `Scored` systems. Out: comparisons, those whose runs are there.
"""

from __future__ import annotations

from itertools import product

from zipperasr.model.model_config import REGIMES
from zipperasr.report.claims.systems import TARGET, Cell, Scored
from zipperasr.report.claims.twelve import better
from zipperasr.report.claims.verdict import Comparison
from zipperasr.report.paper import INITIAL_B, SOFT

INTRODUCTION = """\
Initial-B is two trainings, one after the other. `twice` is soft trained as long as both; `restarted` is
soft continued, all of it, with the schedule begun anew. `dense` lets the banks of absent languages move. Estimate:
points better, mean of the languages named."""

# one, other, over which languages
CONTROLS = (
    (f"{SOFT} twice", INITIAL_B, TARGET),
    (f"{SOFT} restarted", INITIAL_B, TARGET),
    (INITIAL_B, SOFT, TARGET),
    (SOFT, f"{SOFT} dense", "small"),
)


def controls(scored: Scored) -> list[Comparison]:
    """Those of which both systems have been scored."""
    found = []
    for regime, (one, other, scope) in product(REGIMES, CONTROLS):
        comparison = better(scored, Cell(one, regime), Cell(other, regime), scope)
        languages = "all targets" if scope == TARGET else f"the {scope} languages"
        if comparison.estimate is not None:
            found.append(Comparison(f"{comparison.what}, {languages}", comparison.estimate))
    return found
