"""Draw a table as sclite does: a titled box of nine columns, centred on a page of 80.

In: a title and rows of cells, as bytes. Out: bytes. sclite counts widths in bytes, so a title or speaker outside ASCII
gives the same misaligned box; `//` in either is a line break.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

PAGE_WIDTH = 80
BARS_AFTER = (0, 2)  # columns followed by a vertical bar


@dataclass(frozen=True)
class Row:
    """`separator`: the character of the line above, or b"". The first cell is left-aligned or centred."""

    separator: bytes
    cells: Sequence[bytes]
    centred_label: bool = False


def draw(title: bytes, rows: Sequence[Row]) -> bytes:
    """Draw the box; columns are as wide as their longest cell, or share the width of a longer title."""
    sizes = [max(_width(row.cells[column]) for row in rows) for column in range(len(rows[0].cells))]
    inner = sum(sizes) + len(sizes) - 1
    spare = max(0, _width(title) - inner)
    extra = _shares(spare, len(sizes))
    inner += spare
    margin = b" " * max(0, (PAGE_WIDTH - inner - 2) // 2)
    lines = [b",%b." % (b"-" * inner), *(b"|%b|" % line for line in _title_lines(title, inner))]
    above: Row | None = None
    for row in rows:
        if row.separator:
            crossing = b"+" if above and row.separator == b"-" else row.separator
            cells = [row.separator * (size + more) for size, more in zip(sizes, extra, strict=True)]
            lines.append(b"|%b|" % _joined(cells, crossing, row.separator))
        for cells in zip_longest(*map(_lines, row.cells), fillvalue=b""):
            lines.append(b"|%b|" % _joined(_padded(cells, row.centred_label, sizes, extra), b"|", b" "))
        above = row
    lines.append(b"`%b'" % (b"-" * inner))
    return b"".join(b"%b%b\n" % (margin, line) for line in lines)


def centred(text: bytes, size: int) -> bytes:
    front = max(0, size - len(text)) // 2
    return b" " * front + text + b" " * max(0, size - len(text) - front)


def _lines(cell: bytes) -> list[bytes]:
    return cell.removesuffix(b"//").split(b"//")


def _width(cell: bytes) -> int:
    return max(map(len, _lines(cell)))


def _title_lines(title: bytes, inner: int) -> list[bytes]:
    size = _width(title)
    front = (inner - size) // 2
    return [b" " * front + centred(line, size) + b" " * (inner - size - front) for line in _lines(title)]


def _shares(spare: int, num_columns: int) -> list[int]:
    """Spread `spare` characters over the columns; sclite rounds the running sum, the last column takes the rest."""
    sums = [int(spare / num_columns * (column + 1) + 0.5) for column in range(num_columns - 1)]
    return [share - before for share, before in zip([*sums, spare], [0, *sums], strict=True)]


def _padded(cells: Sequence[bytes], centred_label: bool, sizes: Sequence[int], extra: Sequence[int]) -> list[bytes]:
    padded = []
    for column, (cell, size, more) in enumerate(zip(cells, sizes, extra, strict=True)):
        flush_left = column == 0 and not centred_label
        text = cell.ljust(size) if flush_left else centred(cell, size)
        padded.append(b" " * (more // 2) + text + b" " * (more - more // 2))
    return padded


def _joined(cells: Sequence[bytes], bar: bytes, gap: bytes) -> bytes:
    last = len(cells) - 1
    return b"".join(cell + (b"" if c == last else bar if c in BARS_AFTER else gap) for c, cell in enumerate(cells))
