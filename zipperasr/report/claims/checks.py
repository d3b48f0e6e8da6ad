"""Checks of the experiment itself: has a training converged, and does adapting the encoder matter?

In: `Scored` systems. Out: a Markdown table of relative changes between two systems, with what is wanted of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import inf

from zipperasr.audio.segments import REGIMES
from zipperasr.markdown import percent, table
from zipperasr.report.claims.resampling import Estimate
from zipperasr.report.claims.systems import Cell, Scored
from zipperasr.report.claims.twelve import over_seeds
from zipperasr.report.collect import ALIGNMENT, NO_ENCODER_LORA
from zipperasr.report.groups import HIGH, LOW
from zipperasr.report.paper import SOFT


@dataclass(frozen=True)
class Check:
    """The error rate of `other` relative to that of `one`; the change in per cent is wanted from `low` to `high`."""

    name: str
    one: str
    other: str
    languages: str  # a group
    low: float = -inf
    high: float = inf

    @property
    def wanted(self) -> str:
        if self.low == -self.high:
            return f"within ±{self.high:.0f}" if self.high < inf else ""
        return f"at least +{self.low:.0f}" if self.high == inf else f"at most {self.high:+.0f}".replace("-", "−")


CHECKS = (
    Check("schedule check: trained twice as long", SOFT, f"{SOFT} twice", HIGH, -10, 10),
    Check("without encoder LoRA", "vanilla", NO_ENCODER_LORA, HIGH, low=20),
    Check("without encoder LoRA", "vanilla", NO_ENCODER_LORA, LOW, low=20),
    Check("adaptation", ALIGNMENT, SOFT, HIGH),
    Check("adaptation", ALIGNMENT, SOFT, LOW),
)


def checks_table(scored: Scored) -> str:
    """One line per check and regime of which both systems are scored; empty if there is none."""
    header = ["check", "encoder", "systems", "mean of", "error rates, %", "change, %", "95 % interval", "seeds"]
    rows = list(_rows(scored))
    return table([*header, "wanted", "met"], rows, 4) if rows else ""


def _rows(scored: Scored) -> Iterator[list[str]]:
    for regime, check in product(REGIMES, CHECKS):
        cells = [Cell(label, regime) for label in (check.one, check.other)]
        change = over_seeds(scored, cells, lambda one, other: 100 * (other - one) / one[0], check.languages)
        if change is None:
            continue
        before, after = (over_seeds(scored, cells, lambda *r, i=i: r[i], check.languages).value for i in (0, 1))
        met = "" if not check.wanted else "yes" if check.low <= change.value <= check.high else "**no**"
        systems = f"`{check.one}` → `{check.other}`"
        rates = f"{percent(before)} → {percent(after)}"
        yield [check.name, regime, systems, check.languages, rates, *_figures(change), check.wanted, met]


def _figures(found: Estimate) -> tuple[str, str, str]:
    value, low, high = (f"{figure:+.1f}".replace("-", "−") for figure in (found.value, found.low, found.high))
    return value, f"{low} to {high}", str(found.seeds)
