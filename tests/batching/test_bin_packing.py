"""Bin packing: nothing is lost, no bin is too full, and hardly any capacity is wasted."""

from __future__ import annotations

import numpy as np
import pytest

from zipperasr.batching.bin_packing import best_fit, complete_bins


def test_best_fit_takes_the_tightest_open_bin():
    assert best_fit(np.array([6, 5, 4, 3]), 10) == [[0, 2], [1, 3]]
    assert best_fit(np.array([10, 10]), 10) == [[0], [1]]


def test_best_fit_never_overfills_and_loses_nothing():
    sizes = np.random.default_rng(0).integers(1, 51, 400)
    bins = best_fit(sizes, 50)
    assert sorted(index for members in bins for index in members) == list(range(400))
    assert max(sizes[members].sum() for members in bins) <= 50


@pytest.mark.parametrize(
    ("low", "high", "capacity", "fullest"),
    [
        (180, 350, 2048, 0.995),  # read speech of 10 to 20 s
        (20, 500, 2048, 0.999),
        (50, 110, 256, 0.97),  # the mini scale
        (1, 3, 7, 0.99),
        (90, 100, 100, 0.9),  # no two fit into one bin
        (40, 40, 100, 0.8),  # all the same size
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_completed_bins_lose_nothing_and_are_full(low, high, capacity, fullest, seed):
    sizes = np.random.default_rng(seed).integers(low, high + 1, 3000)
    bins, rest = complete_bins(sizes, capacity, keep=4 * capacity)
    assert sorted([*rest, *(index for members in bins for index in members)]) == list(range(3000))
    assert sizes[rest].sum() <= 4 * capacity
    filled = np.array([sizes[members].sum() for members in bins])
    assert filled.max() <= capacity
    assert filled.mean() / capacity >= fullest


def test_one_utterance_is_not_used_twice_in_a_pair():
    """There is one item of size 50; 50 + 50 would fill the bin exactly."""
    bins, rest = complete_bins(np.array([50, 30, 20]), 100, keep=0)
    assert sorted(index for members in bins for index in members) == [0, 1, 2] and rest == []


def test_as_many_items_as_allowed_are_kept():
    assert complete_bins(np.array([5, 6]), 10, keep=40) == ([], [0, 1])
