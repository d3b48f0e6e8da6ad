"""Align hypothesis to reference as sclite does.

In: pairs of token lists. Out: one string of operations per pair, C(orrect) S(ubstitution) D(eletion) I(nsertion).
sclite's costs (4, 3, 3) may choose one error more than the least count (two deletions and two insertions cost as much
as three substitutions). Pairs of like length share one numpy table: fast, at 1 byte per cell and pair for the way back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SUBSTITUTION_COST, GAP_COST = 4, 3  # a gap is an insertion or a deletion
CELLS_AT_ONCE = 1 << 24  # upper bound of the backtrace table of one batch, in bytes

_DIAGONAL, _DELETION, _INSERTION = 0, 1, 2

Pair = tuple[Sequence[str], Sequence[str]]


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> str:
    """The operations that turn `reference` into `hypothesis`, e.g. "CCSDI"."""
    return align_all([(reference, hypothesis)])[0]


def align_all(pairs: Sequence[Pair]) -> list[str]:
    """Align every (reference, hypothesis) pair; the result keeps the order of `pairs`."""
    operations = [""] * len(pairs)
    for batch in _batches(pairs):
        for index, ops in zip(batch, _align_batch([pairs[index] for index in batch]), strict=True):
            operations[index] = ops
    return operations


def _batches(pairs: Sequence[Pair]) -> list[list[int]]:
    """Indices of pairs of like length, each group's padded table within CELLS_AT_ONCE (or a single pair)."""
    batches: list[list[int]] = []
    widest_ref = widest_hyp = 0
    for index in sorted(range(len(pairs)), key=lambda index: (len(pairs[index][0]), len(pairs[index][1]))):
        num_ref, num_hyp = len(pairs[index][0]), len(pairs[index][1])
        wide_ref, wide_hyp = max(widest_ref, num_ref), max(widest_hyp, num_hyp)
        fits = batches and (len(batches[-1]) + 1) * (wide_ref + 1) * (wide_hyp + 1) <= CELLS_AT_ONCE
        # Sorted by reference length: a new group starts where padding would double the work.
        if fits and wide_ref <= 2 * len(pairs[batches[-1][0]][0]) + 8:
            batches[-1].append(index)
            widest_ref, widest_hyp = wide_ref, wide_hyp
        else:
            batches.append([index])
            widest_ref, widest_hyp = num_ref, num_hyp
    return batches


def _align_batch(pairs: Sequence[Pair]) -> list[str]:
    references, hypotheses = _as_numbers(pairs)
    back = _back_pointers(references, hypotheses)
    return [
        _walk_back(back[:, row].tobytes(), back.shape[2], references[row], hypotheses[row], len(ref), len(hyp))
        for row, (ref, hyp) in enumerate(pairs)
    ]


def _as_numbers(pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens as integers, right-padded: (pairs, longest reference) and (pairs, longest hypothesis)."""
    numbers: dict[str, int] = {}
    sides = []
    for side, padding in ((0, -1), (1, -2)):  # padding never equals a token, nor the other side's padding
        table = np.full((len(pairs), max(len(pair[side]) for pair in pairs)), padding, dtype=np.int32)
        for row, pair in enumerate(pairs):
            table[row, : len(pair[side])] = [numbers.setdefault(token, len(numbers)) for token in pair[side]]
        sides.append(table)
    return sides[0], sides[1]


def _back_pointers(references: np.ndarray, hypotheses: np.ndarray) -> np.ndarray:
    """Where each cell's cheapest path comes from: (longest reference + 1, pairs, longest hypothesis + 1).

    sclite's choice among equals: the diagonal first, then the insertion, then the deletion.
    """
    num_pairs, num_ref = references.shape
    num_hyp = hypotheses.shape[1]
    gaps = GAP_COST * np.arange(num_hyp + 1, dtype=np.int32)
    back = np.full((num_ref + 1, num_pairs, num_hyp + 1), _INSERTION, dtype=np.uint8)
    cost = np.broadcast_to(gaps, (num_pairs, num_hyp + 1))
    diagonal = np.empty((num_pairs, num_hyp + 1), dtype=np.int32)
    for row in range(1, num_ref + 1):
        differs = hypotheses != references[:, row - 1 : row]
        diagonal[:, 0] = np.iinfo(np.int32).max // 2
        diagonal[:, 1:] = cost[:, :-1] + SUBSTITUTION_COST * differs
        deletion = cost + GAP_COST
        # Insertions run along the row: cost[j] = min over k <= j of best[k] + GAP_COST * (j - k).
        cost = np.minimum.accumulate(np.minimum(diagonal, deletion) - gaps, axis=1) + gaps
        back[row][deletion == cost] = _DELETION
        back[row, :, 1:][cost[:, :-1] + GAP_COST == cost[:, 1:]] = _INSERTION
        back[row][diagonal == cost] = _DIAGONAL
    return back


def _walk_back(
    back: bytes, width: int, reference: np.ndarray, hypothesis: np.ndarray, num_ref: int, num_hyp: int
) -> str:
    operations = []
    ref, hyp = reference.tolist(), hypothesis.tolist()
    while num_ref or num_hyp:
        step = back[num_ref * width + num_hyp]
        if step == _DIAGONAL:
            num_ref, num_hyp = num_ref - 1, num_hyp - 1
            operations.append("C" if ref[num_ref] == hyp[num_hyp] else "S")
        elif step == _DELETION:
            num_ref -= 1
            operations.append("D")
        else:
            num_hyp -= 1
            operations.append("I")
    return "".join(reversed(operations))
