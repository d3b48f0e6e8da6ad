from __future__ import annotations

import random
from functools import cache

import pytest

from zipperasr.score.sclite import align as module
from zipperasr.score.sclite.align import align, align_all


def random_pairs(count: int, seed: int, longest: int = 14) -> list[tuple[list[str], list[str]]]:
    rng = random.Random(seed)
    letters = [["a", "b"], ["the", "cat", "sat", "on"], ["天", "气", "好", "ส", "ว", "ا"]]
    pairs = []
    for _ in range(count):
        alphabet = rng.choice(letters)
        pairs.append(tuple([rng.choice(alphabet) for _ in range(rng.randint(0, longest))] for _ in range(2)))
    return pairs


def reference_operations(ref: list[str], hyp: list[str]) -> str:
    """Recursive alignment with costs 4/3/3; ties prefer the diagonal, then insertion, then deletion, from the end."""

    @cache
    def best(i: int, j: int) -> tuple[int, str]:
        if i == 0 or j == 0:
            return 3 * (i + j), "D" * i + "I" * j
        same = ref[i - 1] == hyp[j - 1]
        ways = [
            (best(i - 1, j - 1)[0] + (0 if same else 4), 0, best(i - 1, j - 1)[1] + ("C" if same else "S")),
            (best(i, j - 1)[0] + 3, 1, best(i, j - 1)[1] + "I"),
            (best(i - 1, j)[0] + 3, 2, best(i - 1, j)[1] + "D"),
        ]
        cost, _, operations = min(ways)
        return cost, operations

    return best(len(ref), len(hyp))[1]


@pytest.mark.parametrize(
    ("ref", "hyp", "wanted"),
    [
        ("the cat sat", "the cat sat", "CCC"),
        ("the cat sat", "the hat sat", "CSC"),
        ("the cat sat", "the sat", "CDC"),
        ("the sat", "the cat sat", "CIC"),
        ("", "a b", "II"),
        ("a b", "", "DD"),
        ("", "", ""),
    ],
)
def test_alignment_of_simple_cases(ref, hyp, wanted):
    assert align(ref.split(), hyp.split()) == wanted


def test_agrees_with_the_recursive_definition():
    pairs = random_pairs(400, seed=1)
    assert align_all(pairs) == [reference_operations(*pair) for pair in pairs]


def test_results_do_not_depend_on_the_batch_size(monkeypatch):
    pairs = random_pairs(120, seed=2, longest=30)
    at_once = align_all(pairs)
    monkeypatch.setattr(module, "CELLS_AT_ONCE", 1)
    assert align_all(pairs) == at_once


def test_one_very_long_pair_among_short_ones():
    long = ["a", "b"] * 600
    pairs = [(["a"], ["a"]), (long, long[1:]), ([], ["b"])]
    assert align_all(pairs) == ["C", "D" + "C" * 1199, "I"]
