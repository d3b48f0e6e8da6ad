"""A claim, its comparisons, and the verdict that follows from their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zipperasr.report.claims.resampling import Estimate

CONFIRMED, NOT_CONFIRMED, CONTRARY, NOT_TESTED = "confirmed", "not confirmed", "contrary", "not tested"


@dataclass(frozen=True)
class Comparison:
    """An estimate that supports its claim if it is above `floor` and, if there is one, below `ceiling`."""

    what: str
    estimate: Estimate | None  # None: a run is missing
    floor: float = 0.0
    ceiling: float | None = None

    @property
    def verdict(self) -> str:
        """Confirmed if the whole interval is inside the bounds, contrary if it is outside, else not confirmed."""
        if self.estimate is None:
            return NOT_TESTED
        low, high = self.estimate.low, self.estimate.high
        ceiling = float("inf") if self.ceiling is None else self.ceiling
        if low > self.floor and high < ceiling:
            return CONFIRMED
        return CONTRARY if high < self.floor or low > ceiling else NOT_CONFIRMED


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims."""

    number: int
    text: str
    measure: str  # what the estimates are, and their unit
    comparisons: Sequence[Comparison]

    @property
    def verdict(self) -> str:
        """Contrary by any comparison; else not tested if one is missing; else confirmed if all are."""
        verdicts = [comparison.verdict for comparison in self.comparisons]
        if CONTRARY in verdicts:
            return CONTRARY
        if not verdicts or NOT_TESTED in verdicts:
            return NOT_TESTED
        return CONFIRMED if set(verdicts) == {CONFIRMED} else NOT_CONFIRMED

    @property
    def tally(self) -> str:
        """`7 of 12 confirmed, 1 contrary`."""
        verdicts = [comparison.verdict for comparison in self.comparisons]
        counts = [f"{verdicts.count(CONFIRMED)} of {len(verdicts)} confirmed"]
        counts += [f"{verdicts.count(kind)} {kind}" for kind in (CONTRARY, NOT_TESTED) if kind in verdicts]
        return ", ".join(counts)
