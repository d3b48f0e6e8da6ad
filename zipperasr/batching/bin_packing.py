"""Bin packing: which utterances share a pack.

In: sizes, a capacity. Out: bins as lists of indices. `complete_bins` fills bins with random utterances and closes each
with the one or two that leave the least free capacity; with many sizes to choose from they almost always fill it.
`best_fit` packs what is left over.
"""

from __future__ import annotations

import bisect

import numpy as np

SLACK = 32  # largest free capacity for which a closing pair is searched


def best_fit(sizes: np.ndarray, capacity: int) -> list[list[int]]:
    """Pack by best-fit decreasing. Returns indices of `sizes` by bin. sizes: (n,), none above capacity."""
    bins: list[list[int]] = []
    open_bins: list[tuple[int, int]] = []  # (free capacity, bin), sorted
    for index in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[index])
        slot = bisect.bisect_left(open_bins, (size, 0))
        if slot < len(open_bins):
            free, number = open_bins.pop(slot)
        else:
            free, number = capacity, len(bins)
            bins.append([])
        bins[number].append(index)
        if free > size:
            bisect.insort(open_bins, (free - size, number))
    return bins


def complete_bins(sizes: np.ndarray, capacity: int, keep: int) -> tuple[list[list[int]], list[int]]:
    """Fill bins until at most `keep` positions remain. Returns the bins and the indices left over.

    sizes: (n,) in random order, each from 1 to capacity.
    """
    stock = _Stock(sizes, capacity)
    low, typical, remaining = int(sizes.min()), int(np.median(sizes)), int(sizes.sum())
    bins = []
    while remaining > keep:
        members, free = stock.draw(capacity, 2 * typical)
        while free >= low and (closing := stock.closing(free)):
            members += [stock.take(size) for size in closing]
            free -= sum(closing)
        bins.append(members)
        remaining -= capacity - free
    return bins, stock.unused()


class _Stock:
    """The utterances not yet packed, in order and by size."""

    def __init__(self, sizes: np.ndarray, capacity: int):
        self._sizes = sizes.tolist()
        self._next = 0  # all earlier ones are used
        self._used = bytearray(len(sizes))
        self._left = np.bincount(sizes, minlength=capacity + 1).tolist()  # by size
        self._available = np.bincount(sizes, minlength=capacity + 1) > 0
        self._low, self._high = int(sizes.min()), int(sizes.max())
        self._by_size: list[list[int]] = [[] for _ in range(capacity + 1)]
        for index in range(len(sizes) - 1, -1, -1):
            self._by_size[self._sizes[index]].append(index)

    def draw(self, capacity: int, reserve: int) -> tuple[list[int], int]:
        """Take indices in order while `reserve` stays free, at least one. Returns them and the free capacity."""
        members: list[int] = []
        free = capacity
        for index in range(self._next, len(self._sizes)):
            self._next = index
            if self._used[index]:
                continue
            size = self._sizes[index]
            if members and free - size < reserve:
                break
            self._mark(index, size)
            members.append(index)
            free -= size
        return members, free

    def closing(self, free: int) -> tuple[int, ...]:
        """Return the sizes of the one or two utterances that best fill `free`; empty if none fits."""
        for total in range(free, max(free - SLACK, self._low) - 1, -1):
            if total <= self._high and self._left[total]:
                return (total,)
            if pair := self._pair(total):
                return pair
        fitting = np.flatnonzero(self._available[: min(free, self._high) + 1])
        return (int(fitting[-1]),) if len(fitting) else ()

    def _pair(self, total: int) -> tuple[int, int] | None:
        first = max(self._low, total - self._high)
        window = self._available[first : total - first + 1]
        if not len(window):
            return None
        hits = window & window[::-1]
        place = int(hits.argmax())
        if hits[place] and 2 * (first + place) == total and self._left[first + place] < 2:
            return None  # equal sizes are found last; a pair needs two
        return (first + place, total - first - place) if hits[place] else None

    def take(self, size: int) -> int:
        """Return an unused index of this size and mark it as used."""
        index = self._by_size[size].pop()
        while self._used[index]:
            index = self._by_size[size].pop()
        self._mark(index, size)
        return index

    def unused(self) -> list[int]:
        return [index for index, used in enumerate(self._used) if not used]

    def _mark(self, index: int, size: int) -> None:
        self._used[index] = 1
        self._left[size] -= 1
        if not self._left[size]:
            self._available[size] = False
