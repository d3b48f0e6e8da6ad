"""Bin packing: which utterances share a pack.

In: sizes, a capacity. Out: bins as lists of indices. `complete_bins` fills bins from random utterances and closes each
with the one or two that leave the least room, which almost always exist while many sizes are at hand; `best_fit` takes
what is left at the end.
"""

from __future__ import annotations

import bisect

import numpy as np

SLACK = 32  # room left in a bin up to which a closing pair is searched for


def best_fit(sizes: np.ndarray, capacity: int) -> list[list[int]]:
    """Best-fit decreasing: indices of `sizes` by bin. sizes: (n,), none above capacity."""
    bins: list[list[int]] = []
    open_bins: list[tuple[int, int]] = []  # (room left, bin), sorted
    for index in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[index])
        place = bisect.bisect_left(open_bins, (size, 0))
        if place < len(open_bins):
            room, number = open_bins.pop(place)
        else:
            room, number = capacity, len(bins)
            bins.append([])
        bins[number].append(index)
        if room > size:
            bisect.insort(open_bins, (room - size, number))
    return bins


def complete_bins(sizes: np.ndarray, capacity: int, keep: int) -> tuple[list[list[int]], list[int]]:
    """Fill bins until at most `keep` positions are left; returns the bins and the indices left over.

    sizes: (n,) in random order, each from 1 to capacity.
    """
    stock = _Stock(sizes, capacity)
    low, typical, remaining = int(sizes.min()), int(np.median(sizes)), int(sizes.sum())
    bins = []
    while remaining > keep:
        members, room = stock.draw(capacity, 2 * typical)
        while room >= low and (closing := stock.closing(room)):
            members += [stock.take(size) for size in closing]
            room -= sum(closing)
        bins.append(members)
        remaining -= capacity - room
    return bins, stock.unused()


class _Stock:
    """The utterances not yet packed: in their order, and by size."""

    def __init__(self, sizes: np.ndarray, capacity: int):
        self._sizes = sizes.tolist()
        self._next = 0  # all before it are used
        self._used = bytearray(len(sizes))
        self._left = np.bincount(sizes, minlength=capacity + 1).tolist()  # by size
        self._at_hand = np.bincount(sizes, minlength=capacity + 1) > 0
        self._low, self._high = int(sizes.min()), int(sizes.max())
        self._by_size: list[list[int]] = [[] for _ in range(capacity + 1)]
        for index in range(len(sizes) - 1, -1, -1):
            self._by_size[self._sizes[index]].append(index)

    def draw(self, capacity: int, reserve: int) -> tuple[list[int], int]:
        """Indices in order while more than `reserve` of the capacity stays free, at least one; and the room left."""
        members: list[int] = []
        room = capacity
        for index in range(self._next, len(self._sizes)):
            self._next = index
            if self._used[index]:
                continue
            size = self._sizes[index]
            if members and room - size < reserve:
                break
            self._mark(index, size)
            members.append(index)
            room -= size
        return members, room

    def closing(self, room: int) -> tuple[int, ...]:
        """Sizes of the one or two utterances that leave the least of `room`; empty if none fits."""
        for total in range(room, max(room - SLACK, self._low) - 1, -1):
            if total <= self._high and self._left[total]:
                return (total,)
            if pair := self._pair(total):
                return pair
        fitting = np.flatnonzero(self._at_hand[: min(room, self._high) + 1])
        return (int(fitting[-1]),) if len(fitting) else ()

    def _pair(self, total: int) -> tuple[int, int] | None:
        first = max(self._low, total - self._high)
        window = self._at_hand[first : total - first + 1]
        if not len(window):
            return None
        hits = window & window[::-1]
        place = int(hits.argmax())
        if hits[place] and 2 * (first + place) == total and self._left[first + place] < 2:
            return None  # the middle comes last, and one alone is no pair
        return (first + place, total - first - place) if hits[place] else None

    def take(self, size: int) -> int:
        """An unused index of this size."""
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
            self._at_hand[size] = False
