"""A claim, the comparisons it stands on, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zipperasr.report.claims.resampling import Estimate

CONFIRMED, NOT_CONFIRMED, CONTRARY, NOT_TESTED = "confirmed", "not confirmed", "contrary", "not tested"


@dataclass(frozen=True)
class Comparison:
    """An estimate that supports its claim where it lies above `floor`, and below `ceiling` where there is one."""

    what: str
    estimate: Estimate | None  # None: a run that it needs is missing
    floor: float = 0.0
    ceiling: float | None = None

    @property
    def verdict(self) -> str:
        """By the whole interval: inside the bounds, outside of them, or neither."""
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
        """Confirmed: by every comparison. Contrary: by at least one. Not tested: one is missing, none is contrary."""
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
