"""Draw a table as sclite does: a titled box of nine columns, centred on a page of 80.

In: a title and rows of cells. Out: text. Widths are counted in bytes, as sclite counts them, so that a title or
speaker outside ASCII gives the same bytes (and the same slightly crooked box).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PAGE_WIDTH = 80
BARS_AFTER = (0, 2)  # columns followed by a vertical bar


@dataclass(frozen=True)
class Row:
    """`separator`: the character of the line above, or nothing. The first cell is flush left or centred."""

    separator: str
    cells: Sequence[str]
    centred_label: bool = False


def draw(title: str, rows: Sequence[Row]) -> str:
    """The box; sizes come from the longest cell of each column, or from a title that is longer than all."""
    sizes = [max(width(row.cells[column]) for row in rows) for column in range(len(rows[0].cells))]
    inner = sum(sizes) + len(sizes) - 1
    spare = max(0, width(title) - inner)
    extra = _shares(spare, len(sizes))
    inner += spare
    lines = [f",{'-' * inner}.", f"|{centred(title, inner)}|"]
    above: Row | None = None
    for row in rows:
        if row.separator:
            crossing = "+" if above and row.separator == "-" else row.separator
            cells = [row.separator * (size + more) for size, more in zip(sizes, extra, strict=True)]
            lines.append(f"|{_joined(cells, crossing, row.separator)}|")
        lines.append(f"|{_joined(_padded(row, sizes, extra), '|', ' ')}|")
        above = row
    lines.append(f"`{'-' * inner}'")
    margin = " " * max(0, (PAGE_WIDTH - inner - 2) // 2)
    return "".join(f"{margin}{line}\n" for line in lines)


def width(text: str) -> int:
    return len(text.encode("utf-8"))


def centred(text: str, size: int) -> str:
    front = max(0, size - width(text)) // 2
    return " " * front + text + " " * max(0, size - width(text) - front)


def _shares(spare: int, num_columns: int) -> list[int]:
    """Spread `spare` characters over the columns; sclite rounds the running sum, the last takes what is left."""
    sums = [int(spare / num_columns * (column + 1) + 0.5) for column in range(num_columns - 1)]
    return [share - before for share, before in zip([*sums, spare], [0, *sums], strict=True)]


def _padded(row: Row, sizes: Sequence[int], extra: Sequence[int]) -> list[str]:
    cells = []
    for column, (cell, size, more) in enumerate(zip(row.cells, sizes, extra, strict=True)):
        flush_left = column == 0 and not row.centred_label
        text = cell + " " * (size - width(cell)) if flush_left else centred(cell, size)
        cells.append(" " * (more // 2) + text + " " * (more - more // 2))
    return cells


def _joined(cells: Sequence[str], bar: str, gap: str) -> str:
    last = len(cells) - 1
    return "".join(cell + ("" if c == last else bar if c in BARS_AFTER else gap) for c, cell in enumerate(cells))
