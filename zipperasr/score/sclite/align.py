"""Align hypothesis to reference as sclite does.

In: pairs of token lists. Out: one string of operations per pair, C(orrect) S(ubstitution) D(eletion) I(nsertion).
With sclite's costs (4, 3, 3) the result may have one error more than the minimum: two deletions and two insertions cost
as much as three substitutions. Pairs of similar length share one numpy table, with 2 bytes per cell to trace back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import chain, count

import numpy as np

SUBSTITUTION_COST, GAP_COST = 4, 3  # a gap is an insertion or a deletion
CELLS_AT_ONCE = 1 << 21  # upper bound of one batch's tables, in cells

# After subtracting GAP_COST per token of either side, a gap is free and a diagonal step gains one of these.
_MATCH_GAIN, _SUBSTITUTION_GAIN = 2 * GAP_COST, 2 * GAP_COST - SUBSTITUTION_COST

Pair = tuple[Sequence[Hashable], Sequence[Hashable]]


def align(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> str:
    """The operations that turn `reference` into `hypothesis`, e.g. "CCSDI"."""
    return align_all([(reference, hypothesis)])[0]


def align_all(pairs: Sequence[Pair]) -> list[str]:
    """Align every (reference, hypothesis) pair; operations in the order of `pairs`."""
    operations = ["C" * len(reference) if reference == hypothesis else "" for reference, hypothesis in pairs]
    unequal = [index for index, (reference, hypothesis) in enumerate(pairs) if reference != hypothesis]
    for batch in _batches(pairs, unequal):
        for index, ops in zip(batch, _align_batch([pairs[index] for index in batch]), strict=True):
            operations[index] = ops
    return operations


def _batches(pairs: Sequence[Pair], indices: Sequence[int]) -> list[list[int]]:
    """Indices of pairs of similar length, in groups whose padded table has at most CELLS_AT_ONCE cells, or one pair."""
    batches: list[list[int]] = []
    widest_hyp = shortest_ref = 0
    for num_ref, num_hyp, index in sorted((len(pairs[index][0]), len(pairs[index][1]), index) for index in indices):
        wide_hyp = max(widest_hyp, num_hyp)
        fits = batches and (len(batches[-1]) + 1) * (num_ref + 1) * (wide_hyp + 1) <= CELLS_AT_ONCE
        # Sorted by reference length: start a new group before padding doubles the work.
        if fits and num_ref <= 1.5 * shortest_ref + 4:
            batches[-1].append(index)
            widest_hyp = wide_hyp
        else:
            batches.append([index])
            shortest_ref, widest_hyp = num_ref, num_hyp
    return batches


def _align_batch(pairs: Sequence[Pair]) -> list[str]:
    numbers: dict[Hashable, int] = defaultdict(count().__next__)
    references = _as_numbers([reference for reference, _ in pairs], numbers, padding=-1)
    hypotheses = _as_numbers([hypothesis for _, hypothesis in pairs], numbers, padding=-2)
    diagonal, insertion = _back_pointers(references, hypotheses)
    return [
        _walk_back(diagonal[row].tobytes(), insertion[row].tobytes(), diagonal.shape[2], ref, hyp)
        for row, (ref, hyp) in enumerate(pairs)
    ]


def _as_numbers(side: Sequence[Sequence[Hashable]], numbers: dict[Hashable, int], padding: int) -> np.ndarray:
    """Tokens as integers, right-padded: (pairs, longest sequence)."""
    lengths = np.array([len(tokens) for tokens in side])
    table = np.full((len(side), lengths.max()), padding, dtype=np.int32)
    flat = np.fromiter(map(numbers.__getitem__, chain.from_iterable(side)), dtype=np.int32, count=lengths.sum())
    table[np.arange(table.shape[1]) < lengths[:, None]] = flat
    return table


def _back_pointers(references: np.ndarray, hypotheses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predecessors of each cell on a cheapest path: two bool tables, (pairs, longest ref + 1, longest hyp + 1).

    Like sclite, prefer the diagonal, then the insertion, then the deletion (in neither table).
    """
    num_pairs, num_ref = references.shape
    num_hyp = hypotheses.shape[1]
    dtype = np.int16 if _MATCH_GAIN * min(num_ref, num_hyp) < np.iinfo(np.int16).max else np.int32
    match, substitution = dtype(_MATCH_GAIN), dtype(_SUBSTITUTION_GAIN)
    diagonal = np.zeros((num_pairs, num_ref + 1, num_hyp + 1), dtype=bool)
    insertion = np.zeros_like(diagonal)
    insertion[:, 0, 1:] = True
    cost = np.zeros((num_pairs, num_hyp + 1), dtype=dtype)
    for row in range(1, num_ref + 1):
        gain = np.where(hypotheses == references[:, row - 1 : row], match, substitution)
        from_diagonal = cost[:, :-1] - gain
        np.minimum(cost[:, 1:], from_diagonal, out=cost[:, 1:])
        np.minimum.accumulate(cost, axis=1, out=cost)
        np.equal(from_diagonal, cost[:, 1:], out=diagonal[:, row, 1:])
        np.equal(cost[:, :-1], cost[:, 1:], out=insertion[:, row, 1:])
    return diagonal, insertion


def _walk_back(
    diagonal: bytes, insertion: bytes, width: int, reference: Sequence[Hashable], hypothesis: Sequence[Hashable]
) -> str:
    operations = []
    num_ref, num_hyp = len(reference), len(hypothesis)
    cell = num_ref * width + num_hyp
    while cell:
        if diagonal[cell]:
            num_ref, num_hyp, cell = num_ref - 1, num_hyp - 1, cell - width - 1
            operations.append("C" if reference[num_ref] == hypothesis[num_hyp] else "S")
        elif insertion[cell]:
            num_hyp, cell = num_hyp - 1, cell - 1
            operations.append("I")
        else:
            num_ref, cell = num_ref - 1, cell - width
            operations.append("D")
    operations.reverse()
    return "".join(operations)
