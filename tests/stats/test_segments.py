from __future__ import annotations

import random

import pytest

from tests.stats.example import one_audit
from zipperasr.stats.paired_tests import segment_errors


def segments(tmp_path, one: list[str], other: list[str]) -> list[tuple[int, int]]:
    found = segment_errors(one_audit(tmp_path / "a", one), one_audit(tmp_path / "b", other))
    return [tuple(row) for row in found.tolist()]


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("SCCS", "CCCC", [(1, 0), (1, 0)]),  # two correct words separate segments
        ("SCS", "CCC", [(2, 0)]),  # one correct word does not
        ("SCCCD", "CSCCC", [(1, 1), (1, 0)]),  # both systems must be correct
        ("SCCS", "CCICC", [(2, 1)]),  # without insertions between them
        ("CCCC", "CCCCII", [(0, 2)]),  # after the last word
        ("ICCC", "CCS", [(1, 0), (0, 1)]),  # before the first
        ("ICC", "IICC", [(1, 2)]),
        ("CCC", "CCC", []),
        ("", "II", [(0, 2)]),  # no reference word
    ],
)
def test_segments_of_one_utterance(tmp_path, one, other, wanted):
    assert segments(tmp_path, [one], [other]) == wanted


def test_a_segment_ends_with_its_utterance(tmp_path):
    assert segments(tmp_path, ["CS", "SC", "", "CI"], ["CC", "CC", "I", "CC"[:1]]) == [(1, 0), (1, 0), (0, 1), (1, 0)]


@pytest.mark.parametrize("seed", range(20))
def test_segments_equal_those_of_a_word_by_word_reference(tmp_path, seed):
    rng = random.Random(seed)
    one, other = (["".join(_drawn(rng, num)) for num in (0, 1, 5, 9, 30, 3)] for _ in range(2))
    wanted = [pair for ops in zip(one, other, strict=True) for pair in _walk(*map(_words, ops))]
    assert segments(tmp_path, one, other) == wanted


def _drawn(rng: random.Random, num_words: int) -> list[str]:
    columns = ["I" * rng.choice([0] * 9 + [1, 2])]
    return columns + [rng.choice("CCCCCSD") + "I" * rng.choice([0] * 9 + [1, 2]) for _ in range(num_words)]


def _words(ops: str) -> list[tuple[int, int]]:
    """(insertions before it, is it wrong) per word; the end is represented by an additional correct word."""
    words, inserted = [], 0
    for op in ops:
        if op == "I":
            inserted += 1
        else:
            words.append((inserted, int(op != "C")))
            inserted = 0
    return [*words, (inserted, 0)]


def _walk(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found, errors, other_errors, run = [], 0, 0, 0
    for (inserted, wrong), (other_inserted, other_wrong) in zip(one, other, strict=True):
        errors, other_errors = errors + inserted + wrong, other_errors + other_inserted + other_wrong
        run = 0 if inserted or other_inserted else run
        run = 0 if wrong or other_wrong else run + 1
        if run >= 2 and errors + other_errors:
            found.append((errors, other_errors))
            errors = other_errors = 0
    return found + [(errors, other_errors)] * (errors + other_errors > 0)
