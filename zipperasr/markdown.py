"""Markdown tables and numbers.

In: cells. Out: text. Numbers are right-aligned, so that columns of error rates are easy to compare.
"""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], num_labels: int = 1) -> str:
    """A table whose first `num_labels` columns are left-aligned."""
    marks = [":--" if column < num_labels else "--:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(map(_escaped, row)) + " |" for row in [header, marks, *rows])


def percent(value: float | None) -> str:
    """An error rate with two decimals; a dash if there is none."""
    return "–" if value is None or value != value else f"{value:.2f}"


def _escaped(cell: str) -> str:
    return str(cell).replace("|", "\\|").replace("\n", " ")
