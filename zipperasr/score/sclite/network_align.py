"""Align two networks as sclite does.

In: the arcs of reference and hypothesis. Out: the words of the cheapest path and its operations. One cell per pair of
arcs, in Python: for the few utterances that contain alternations and the like; `align` handles all others.
"""

from __future__ import annotations

import struct
from math import inf

from zipperasr.score.sclite.align import GAP_COST, SUBSTITUTION_COST
from zipperasr.score.sclite.network import Arcs, Word

OPTIONAL_COST = 2.0  # omitting an optional word
EMPTY_PAIR_COST = 1.0


class _Single(dict[float, float]):
    """Sums rounded to C's float, in which sclite adds costs; the rounding decides ties because `@` costs 0.001."""

    def __missing__(self, value: float) -> float:
        self[value] = struct.unpack("f", struct.pack("f", value))[0]
        return self[value]


EMPTY_COST = _Single()[0.001]  # omitting the empty word `@`


def align_networks(reference: Arcs, hypothesis: Arcs) -> tuple[list[bytes], list[bytes], str]:
    """Reference words, hypothesis words and operations (C S D I) of the cheapest path.

    An omitted optional word is correct and paired with an empty word.
    """
    table = _Table(hypothesis)
    for ref, before in zip(reference.words, reference.before, strict=True):
        table.add_row(ref, before)
    ends = [(row, column) for row in reference.last for column in hypothesis.last]
    cell = min(ends, key=lambda end: table.cost[end[0]][end[1]])
    steps: list[tuple[str, bytes | None, bytes | None]] = []
    while cell != (0, 0):
        previous = table.back(*cell)
        ref = reference.words[cell[0]] if previous[0] != cell[0] else None
        hyp = hypothesis.words[cell[1]] if previous[1] != cell[1] else None
        steps += _step(ref, hyp)
        cell = previous
    steps.reverse()
    return (
        [ref for _, ref, _ in steps if ref is not None],
        [hyp for _, _, hyp in steps if hyp is not None],
        "".join(operation for operation, _, _ in steps),
    )


def _step(ref: Word | None, hyp: Word | None) -> list[tuple[str, bytes | None, bytes | None]]:
    """The operations of one step of the path; none for empty words."""
    if (ref is None or ref.is_empty) and (hyp is None or hyp.is_empty):
        return []
    if ref is not None and hyp is not None:
        return [("C" if matches(ref, hyp) else "S", ref.value, hyp.value)]
    if ref is not None:
        return [("C", ref.value, b"")] if ref.optional else [("D", ref.value, None)]
    return [("C", b"", hyp.value)] if hyp.optional else [("I", None, hyp.value)]


class _Table:
    """Least costs by reference arc (row) and hypothesis arc (column), with the preceding cell of each.

    Ties: both arcs before the hypothesis arc before the reference arc; earlier arcs first.
    """

    def __init__(self, hypothesis: Arcs):
        self.cost: list[list[float]] = []
        self._back_rows: list[list[int]] = []
        self._back_columns: list[list[int]] = []
        self._hypothesis = hypothesis
        self._gaps = [_gap_cost(word) for word in hypothesis.words]
        self._pair_costs: dict[tuple[bytes, bytes, bool], list[float]] = {}
        self._single = _Single()

    def back(self, row: int, column: int) -> tuple[int, int]:
        return self._back_rows[row][column], self._back_columns[row][column]

    def add_row(self, ref: Word | None, before: list[int]) -> None:
        """Add the row of one reference arc. before: rows of the arcs that lead to it."""
        row, single = len(self.cost), self._single
        above, origins = self._least_above(before)
        gap, pair_costs = _gap_cost(ref), self._costs_with(ref)
        costs, back_rows, back_columns = [single[above[0] + gap]], [origins[0]], [0]
        for column in range(1, len(self._gaps)):
            columns = self._hypothesis.before[column]
            if len(columns) == 1:
                diagonal = left = columns[0]
            else:
                diagonal = min(columns, key=lambda c: (above[c], before.index(origins[c]) if before else 0))
                left = min(columns, key=costs.__getitem__)
            both = single[above[diagonal] + pair_costs[column]]
            insertion = single[costs[left] + self._gaps[column]]
            deletion = single[above[column] + gap]
            if both <= insertion and both <= deletion:
                cost, back_row, back_column = both, origins[diagonal], diagonal
            elif insertion <= deletion:
                cost, back_row, back_column = insertion, row, left
            else:
                cost, back_row, back_column = deletion, origins[column], column
            costs.append(cost)
            back_rows.append(back_row)
            back_columns.append(back_column)
        self.cost.append(costs)
        self._back_rows.append(back_rows)
        self._back_columns.append(back_columns)

    def _least_above(self, before: list[int]) -> tuple[list[float], list[int]]:
        """For each column the least cost among the rows `before`, and the first row that has it."""
        width = len(self._gaps)
        if not before:  # the first row
            return [0.0] + [inf] * (width - 1), [0] * width
        if len(before) == 1:
            return self.cost[before[0]], before * width
        origins = [min(before, key=lambda r, column=column: self.cost[r][column]) for column in range(width)]
        return [self.cost[row][column] for column, row in enumerate(origins)], origins

    def _costs_with(self, ref: Word | None) -> list[float]:
        """The costs of pairing `ref` with each hypothesis arc."""
        if ref is None:
            return [inf] * len(self._gaps)
        key = (ref.value, ref.inner, ref.fragment)
        if key not in self._pair_costs:
            self._pair_costs[key] = [inf if hyp is None else _pair_cost(ref, hyp) for hyp in self._hypothesis.words]
        return self._pair_costs[key]


def _gap_cost(word: Word | None) -> float:
    if word is None:
        return 0.0
    return EMPTY_COST if word.is_empty else OPTIONAL_COST if word.optional else float(GAP_COST)


def _pair_cost(ref: Word, hyp: Word) -> float:
    if ref.is_empty and hyp.is_empty:
        return EMPTY_PAIR_COST
    return 0.0 if matches(ref, hyp) else float(SUBSTITUTION_COST)


def matches(ref: Word, hyp: Word) -> bool:
    """True for equal words; a fragment `x-` also matches words that start with x, `-x` words that end with x."""
    first, second = ref.inner, hyp.inner
    if ref.fragment or hyp.fragment:
        for fragment, whole in ((first, second), (second, first)):
            if len(fragment) > 1 and fragment.startswith(b"-"):
                return whole.endswith(fragment[1:])
            if len(fragment) > 1 and fragment.endswith(b"-"):
                return whole.startswith(fragment[:-1])
    return first == second
