"""Align two networks as sclite does.

In: the arcs of reference and hypothesis. Out: the words of the cheapest path and its operations. One cell per pair of
arcs, in Python: for the few utterances that hold alternations and the like; `zipperasr.score.align` does the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from zipperasr.score.align import GAP_COST, SUBSTITUTION_COST
from zipperasr.score.sclite.network import Arcs, Word

OPTIONAL_COST = 2.0  # an optional word that is left out
EMPTY_PAIR_COST = 1.0

Cell = tuple[int, int]


def _single(value: float) -> float:
    """Rounded to C's float, in which sclite sums costs: it decides ties once `@` costs 0.001."""
    return struct.unpack("f", struct.pack("f", value))[0]


EMPTY_COST = _single(0.001)  # leaving out the empty word `@`


def align_networks(reference: Arcs, hypothesis: Arcs) -> tuple[list[bytes], list[bytes], str]:
    """Reference words, hypothesis words and operations (C S D I) of the cheapest path.

    An optional word that is left out is correct and faces an empty word.
    """
    cost, back = _cells(reference, hypothesis)
    cell = min(((row, column) for row in reference.last for column in hypothesis.last), key=lambda c: cost[c[0]][c[1]])
    steps: list[tuple[str, bytes | None, bytes | None]] = []
    while cell != (0, 0):
        row, column = cell
        previous = back[row][column]
        ref = reference.words[row] if previous[0] != row else None
        hyp = hypothesis.words[column] if previous[1] != column else None
        steps += _step(ref, hyp)
        cell = previous
    steps.reverse()
    return (
        [ref for _, ref, _ in steps if ref is not None],
        [hyp for _, _, hyp in steps if hyp is not None],
        "".join(operation for operation, _, _ in steps),
    )


def _step(ref: Word | None, hyp: Word | None) -> list[tuple[str, bytes | None, bytes | None]]:
    """What one step of the path adds: nothing for empty words."""
    if (ref is None or ref.is_empty) and (hyp is None or hyp.is_empty):
        return []
    if ref is not None and hyp is not None:
        return [("C" if matches(ref, hyp) else "S", ref.value, hyp.value)]
    if ref is not None:
        return [("C", ref.value, b"")] if ref.optional else [("D", ref.value, None)]
    return [("C", b"", hyp.value)] if hyp.optional else [("I", None, hyp.value)]


def _cells(reference: Arcs, hypothesis: Arcs) -> tuple[list[list[float]], list[list[Cell]]]:
    """Least cost of each pair of arcs, and the pair before it."""
    gaps = [_gap_cost(word) for word in reference.words], [_gap_cost(word) for word in hypothesis.words]
    rounded = _single if EMPTY_COST in gaps[0] or EMPTY_COST in gaps[1] else float
    width = len(hypothesis.words)
    cost, back = [], []
    for row, ref in enumerate(reference.words):
        costs, backs = [0.0] * width, [(0, 0)] * width
        cost.append(costs)
        back.append(backs)
        rows = reference.before[row]
        for column, hyp in enumerate(hypothesis.words):
            columns = hypothesis.before[column]
            ways = []  # among equals the first wins: both arcs, then the hypothesis' alone, then the reference's
            if ref is not None and hyp is not None:
                before = min(((r, c) for r in rows for c in columns), key=lambda c: cost[c[0]][c[1]])
                ways.append((rounded(cost[before[0]][before[1]] + _pair_cost(ref, hyp)), before))
            if hyp is not None:
                before = min(columns, key=costs.__getitem__)
                ways.append((rounded(costs[before] + gaps[1][column]), (row, before)))
            if ref is not None:
                before = min(rows, key=lambda r, column=column: cost[r][column])
                ways.append((rounded(cost[before][column] + gaps[0][row]), (before, column)))
            if ways:
                costs[column], backs[column] = min(ways, key=lambda way: way[0])
    return cost, back


def _gap_cost(word: Word | None) -> float:
    if word is None:
        return 0.0
    return EMPTY_COST if word.is_empty else OPTIONAL_COST if word.optional else float(GAP_COST)


def _pair_cost(ref: Word, hyp: Word) -> float:
    if ref.is_empty and hyp.is_empty:
        return EMPTY_PAIR_COST
    return 0.0 if matches(ref, hyp) else float(SUBSTITUTION_COST)


def matches(ref: Word, hyp: Word) -> bool:
    """Equal words; with a fragment among them, `x-` matches what starts with x and `-x` what ends with it."""
    first, second = ref.inner, hyp.inner
    if ref.fragment or hyp.fragment:
        for fragment, whole in ((first, second), (second, first)):
            if len(fragment) > 1 and fragment.startswith(b"-"):
                return whole.endswith(fragment[1:])
            if len(fragment) > 1 and fragment.endswith(b"-"):
                return whole.startswith(fragment[:-1])
    return first == second
