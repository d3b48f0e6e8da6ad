"""CLAIMS.md: each claim of the paper with estimates, intervals and verdict, then the controls.

In: claims, `Scored` systems. Out: Markdown; the summary table is also part of RESULTS.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from zipperasr.audio.segments import REGIMES
from zipperasr.markdown import table
from zipperasr.report.claims.systems import TARGET, Cell, Scored
from zipperasr.report.claims.twelve import better
from zipperasr.report.claims.verdict import Claim, Comparison
from zipperasr.report.groups import LOW
from zipperasr.report.paper import INITIAL_B, SOFT
from zipperasr.stats.bootstrap import RESAMPLINGS

INTRODUCTION = f"""\
The paper's claims, tested with the systems below this recipe's `exp/`, at their scale. Positive estimates support the
claim.

An interval covers seeds and utterances: the variance of the mean over seeds plus its variance over {RESAMPLINGS}
samples of utterances drawn with replacement, the same for all systems (a paired bootstrap); Student's t with Welch and
Satterthwaite's degrees of freedom. It is wide with few seeds; with one seed it covers utterances only.

A comparison is *confirmed* if its whole interval is on the claim's side, *contrary* if it is on the other side, and
*not confirmed* otherwise. A claim is confirmed if all of its comparisons are, and contrary if one of them is. There is
no correction for the number of comparisons. All systems have the same learning rate, schedule and data."""

CONTROLS_INTRODUCTION = """\
Initial-B is two trainings in sequence. `twice` trains soft for as long as both together. `restarted` continues soft
with a new schedule, all of its parts. `dense` also updates the banks of languages that a batch does not contain.
Estimate: percentage points better, mean of the languages named."""

CONTROLS = (  # one, other, over which languages
    (f"{SOFT} twice", INITIAL_B, TARGET),
    (f"{SOFT} restarted", INITIAL_B, TARGET),
    (INITIAL_B, SOFT, TARGET),
    (SOFT, f"{SOFT} dense", LOW),
)


def claims_page(claims: Sequence[Claim], controls: Sequence[Comparison] = ()) -> str:
    """All comparisons of all claims, then the controls."""
    parts = ["# The paper's claims", INTRODUCTION, summary_table(claims)]
    for claim in claims:
        parts += [
            f"## {claim.number}. {claim.text}",
            f"**{claim.verdict}** ({claim.tally}). Estimate: {claim.measure}.",
        ]
        if any(comparison.estimate for comparison in claim.comparisons):
            parts.append(table(["comparison", "estimate", "95 % interval", "seeds", "verdict"], _rows(claim), 1))
    if controls:
        rows = [[comparison.what, *_figures(comparison)] for comparison in controls]
        header = ["comparison", "estimate", "95 % interval", "seeds"]
        parts += ["## Controls", CONTROLS_INTRODUCTION, table(header, rows, 1)]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary_table(claims: Sequence[Claim]) -> str:
    """One line per claim."""
    rows = [[str(claim.number), claim.text, f"**{claim.verdict}**", claim.tally] for claim in claims]
    return table(["claim", "the paper says", "at this scale", "comparisons"], rows, 4)


def find_controls(scored: Scored) -> list[Comparison]:
    """The controls of which both systems are scored."""
    found = []
    for regime, (one, other, scope) in product(REGIMES, CONTROLS):
        comparison = better(scored, Cell(one, regime), Cell(other, regime), scope)
        languages = "all target languages" if scope == TARGET else f"the {scope} languages"
        if comparison.estimate is not None:
            found.append(Comparison(f"{comparison.what}, {languages}", comparison.estimate))
    return found


def _rows(claim: Claim) -> list[list[str]]:
    return [[comparison.what, *_figures(comparison), comparison.verdict] for comparison in claim.comparisons]


def _figures(comparison: Comparison) -> tuple[str, str, str]:
    found = comparison.estimate
    if found is None:
        return "–", "–", "–"
    return _signed(found.value), f"{_signed(found.low)} to {_signed(found.high)}", str(found.seeds)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
