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
    """The utterances not yet packed, in order and by size.

    The sizes that are left are the bits of an integer, in which operations on all sizes take a fraction of a
    microsecond: bit n of `_bits` for size n, and of `_mirrored` for size capacity - n.
    """

    def __init__(self, sizes: np.ndarray, capacity: int):
        self._sizes = sizes.tolist()
        self._capacity = capacity
        self._next = 0  # all earlier ones are used
        self._used = bytearray(len(sizes))
        self._left = np.bincount(sizes, minlength=capacity + 1).tolist()  # by size
        available = np.bincount(sizes, minlength=capacity + 1) > 0
        self._bits, self._mirrored = _bits(available), _bits(available[::-1])
        self._low = int(sizes.min())
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
            if self._left[total]:
                return (total,)
            if pair := self._pair(total):
                return pair
        fitting = (self._bits & ((2 << free) - 1)).bit_length()
        return (fitting - 1,) if fitting else ()

    def _pair(self, total: int) -> tuple[int, int] | None:
        """Return two sizes with this sum, the first as small as possible."""
        first_sizes = self._bits & (self._mirrored >> (self._capacity - total))  # bit n: sizes n and total - n are left
        if not first_sizes:
            return None
        first = (first_sizes & -first_sizes).bit_length() - 1
        if 2 * first == total and self._left[first] < 2:
            return None  # equal sizes are found last; a pair needs two
        return first, total - first

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
            self._bits ^= 1 << size
            self._mirrored ^= 1 << (self._capacity - size)


def _bits(flags: np.ndarray) -> int:
    """An integer with bit n set where flags[n] is."""
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")
