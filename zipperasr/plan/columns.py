"""Tables for a terminal: aligned columns of text."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """One line per row, two spaces between columns; the columns with indices in `right` are right-aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def section(title: str, *parts: str) -> str:
    """An empty line, an underlined title, and the parts."""
    return "\n".join(["", title, "-" * len(title), *parts])
