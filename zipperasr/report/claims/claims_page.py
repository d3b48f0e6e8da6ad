"""CLAIMS.md: each claim of the paper with its estimates, intervals and verdict; and the summary in RESULTS.md.

In: claims. Out: Markdown.
"""

from __future__ import annotations

from collections.abc import Sequence

from zipperasr.markdown import table
from zipperasr.report.claims.controls import INTRODUCTION as CONTROLS
from zipperasr.report.claims.verdict import NOT_TESTED, Claim, Comparison
from zipperasr.stats.bootstrap import RESAMPLINGS

INTRODUCTION = f"""\
What the paper says, and what the runs below this recipe's `exp/` say of it *at their scale*. Every estimate is signed
so that what supports the claim is positive.

An interval is over seeds and utterances: the variance of the mean over seeds, plus its variance over {RESAMPLINGS} test
sets of utterances drawn with replacement, alike for all systems (a paired bootstrap); Student's t with Welch and
Satterthwaite's degrees of freedom. With few seeds it is wide; with one it is over utterances alone.

A comparison is *confirmed* where its whole interval lies on the claim's side, *contrary* where it lies wholly on the
other, *not confirmed* where it holds both. A claim is confirmed by all of its comparisons and contrary by one. Nothing
is corrected for the number of comparisons. All systems have the same learning rate, schedule and data."""


def claims_page(claims: Sequence[Claim], controls: Sequence[Comparison] = ()) -> str:
    """All comparisons of all claims, then the controls."""
    parts = ["# The paper's claims", INTRODUCTION, summary_table(claims)]
    for claim in claims:
        parts += [
            f"## {claim.number}. {claim.text}",
            f"**{claim.verdict}** ({claim.tally}). Estimate: {claim.measure}.",
        ]
        parts.append(table(["comparison", "estimate", "95 % interval", "seeds", "verdict"], _rows(claim), 1))
    if controls:
        rows = [[comparison.what, *_figures(comparison)] for comparison in controls]
        parts += ["## Controls", CONTROLS, table(["comparison", "estimate", "95 % interval", "seeds"], rows, 1)]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary_table(claims: Sequence[Claim]) -> str:
    """One line per claim."""
    rows = [[str(claim.number), claim.text, f"**{claim.verdict}**", claim.tally] for claim in claims]
    return table(["claim", "the paper says", "at this scale", "comparisons"], rows, 4)


def any_tested(claims: Sequence[Claim]) -> bool:
    """Is there a comparison between systems, or were too few of them trained?"""
    systems = [claim for claim in claims if claim.number != 10]
    return any(comparison.verdict != NOT_TESTED for claim in systems for comparison in claim.comparisons)


def _rows(claim: Claim) -> list[list[str]]:
    return [[comparison.what, *_figures(comparison), comparison.verdict] for comparison in claim.comparisons]


def _figures(comparison: Comparison) -> tuple[str, str, str]:
    found = comparison.estimate
    if found is None:
        return "–", "–", "–"
    return _signed(found.value), f"{_signed(found.low)} to {_signed(found.high)}", str(found.seeds)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
