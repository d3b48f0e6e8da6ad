"""Comparisons as text for the terminal, as Markdown and as tab-separated values.

In: comparisons, and the decodings' directories, which are called A, B, C in the text. Out: text. Terminal and Markdown
show p-values after Holm's correction; the tab-separated values contain everything.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import ascii_uppercase as LETTERS

from zipperasr.markdown import table
from zipperasr.stats.comparison import DECISIVE, Comparison
from zipperasr.stats.paired_tests import FIRST, SAME, SECOND, TESTS

TERMINAL_WIDTH = 110
ENOUGH_SEGMENTS = 50  # with fewer, the normal approximation of the matched-pairs test is doubtful
NOTE = (
    "Error rates in per cent with 95 % intervals, resampled over the items named in `over`. Tests: two-tailed p-value "
    "after Holm's correction over the test sets, then the better system by NIST's sc_stats without correction (~: no "
    "difference). The verdict is that of the matched-pairs test (mapsswe) after the correction, at the 0.05 level."
)


def terminal_text(comparisons: Sequence[Comparison], decode_dirs: Sequence[Path]) -> str:
    """For each pair a table of rates and a table of tests, which ends with the verdict."""
    parts = ["\n".join(_legend(decode_dirs)), textwrap.fill(NOTE, TERMINAL_WIDTH)]
    for pair in _pairs(comparisons):
        for header, row in ((_rates_header, _rates_row), (_tests_header, _tests_row)):
            parts.append(_aligned([header(pair[0]), *(row(comparison) for comparison in pair)]))
    return "\n\n".join(parts) + "\n"


def markdown(comparisons: Sequence[Comparison], decode_dirs: Sequence[Path]) -> str:
    """The same tables."""
    parts = ["# Comparison", "\n".join(f"- {line}" for line in _legend(decode_dirs)), NOTE]
    for pair in _pairs(comparisons):
        parts.append(f"## {LETTERS[pair[0].first]} and {LETTERS[pair[0].second]}")
        parts.append(table(_rates_header(pair[0]), [_rates_row(comparison) for comparison in pair]))
        parts.append(table(_tests_header(pair[0]), [_tests_row(comparison) for comparison in pair]))
    return "\n\n".join(parts) + "\n"


def values(comparisons: Sequence[Comparison], decode_dirs: Sequence[Path]) -> str:
    """A header line, then one line per pair and test set."""
    lines: list[str] = []
    for comparison in comparisons:
        cells = _values(comparison, decode_dirs)
        lines = lines or ["\t".join(cells)]
        lines.append("\t".join(cells.values()))
    return "\n".join(lines) + "\n"


def _values(comparison: Comparison, decode_dirs: Sequence[Path]) -> dict[str, str]:
    names = {FIRST: "first", SAME: "same", SECOND: "second"}
    cells = {
        "first": str(decode_dirs[comparison.first]),
        "second": str(decode_dirs[comparison.second]),
        "set": comparison.way.test_set,
        **comparison.scoring._asdict(),
        "utts": str(comparison.utts),
        "resampled_by": comparison.resampled_by,
        "num_resampled": str(comparison.num_resampled),
    }
    for name, found in zip(("first", "second", "diff"), (*comparison.rates, comparison.difference), strict=True):
        cells |= {f"{name}_{key}": f"{value:.3f}" for key, value in found._asdict().items()}
    for name, test in comparison.tests.items():
        cells[f"{name}_statistic"] = f"{test.statistic:.6g}"
        cells[f"{name}_num"] = str(test.num)
        cells[f"{name}_p"] = f"{test.p_value:.6g}"
        cells[f"{name}_p_holm"] = f"{comparison.p_holm[name]:.6g}"
        cells[f"{name}_sc_stats_p"] = f"{test.sc_stats_p:.6g}"
        cells[f"{name}_sc_stats"] = names[test.sc_stats_verdict]
    return cells | {"verdict": names[comparison.verdict]}


def _legend(decode_dirs: Sequence[Path]) -> list[str]:
    return [f"{letter} = {path}" for letter, path in zip(LETTERS, decode_dirs, strict=False)]


def _pairs(comparisons: Sequence[Comparison]) -> Iterable[list[Comparison]]:
    for _, pair in itertools.groupby(comparisons, key=lambda comparison: (comparison.first, comparison.second)):
        yield list(pair)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _rates_header(comparison: Comparison) -> list[str]:
    first, second = LETTERS[comparison.first], LETTERS[comparison.second]
    return ["test set", "unit", first, second, f"{second} - {first}", "over"]


def _rates_row(comparison: Comparison) -> list[str]:
    cells = [_label(comparison), comparison.scoring.unit.upper()]
    cells += [f"{rate.value:.2f} ({rate.low:.2f} to {rate.high:.2f})" for rate in comparison.rates]
    found = comparison.difference
    cells.append(f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})")
    return [*cells, f"{comparison.num_resampled} {comparison.resampled_by}s"]


def _tests_header(comparison: Comparison) -> list[str]:
    return ["test set", *TESTS, "verdict"]


def _tests_row(comparison: Comparison) -> list[str]:
    cells = [
        f"{_p(comparison.p_holm[name])} {_better(comparison, test.sc_stats_verdict)}"
        for name, test in comparison.tests.items()
    ]
    return [_label(comparison), *cells, _verdict(comparison)]


def _label(comparison: Comparison) -> str:
    return comparison.way.test_set + (" (marks)" if comparison.way.family == "marks" else "")


def _verdict(comparison: Comparison) -> str:
    if comparison.verdict == SAME:
        return "no difference shown"
    segments = comparison.tests[DECISIVE].num
    doubt = f" (only {segments} segments: an approximation)" if segments < ENOUGH_SEGMENTS else ""
    return f"{_better(comparison, comparison.verdict)} is better{doubt}"


def _better(comparison: Comparison, verdict: int) -> str:
    return {FIRST: LETTERS[comparison.first], SAME: "~", SECOND: LETTERS[comparison.second]}[verdict]


def _p(p_value: float) -> str:
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"
