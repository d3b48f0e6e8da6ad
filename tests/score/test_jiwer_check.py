from __future__ import annotations

import pytest
from rapidfuzz.distance import Levenshtein

from tests.score.sclite.test_align import random_pairs
from zipperasr.score.jiwer_check import Excess, jiwer_errors
from zipperasr.score.sclite.align import align, align_all
from zipperasr.score.test_set import ScoredUtterance


def utterance(name: str, ref: list[str], hyp: list[str], ops: str) -> ScoredUtterance:
    return ScoredUtterance(name, "s", 1, "", "", ref, hyp, ops)


def test_jiwer_counts_the_minimum_number_of_edits():
    pairs = random_pairs(200, seed=3)
    utterances = [utterance("u", *pair, ops) for pair, ops in zip(pairs, align_all(pairs), strict=True)]
    assert jiwer_errors(utterances) == [Levenshtein.distance(*pair) for pair in pairs]


def test_a_difference_is_explained():
    ref, hyp = list("cddba"), list("baab")
    utterances = [utterance("u-1", ref, hyp, align(ref, hyp)), utterance("u-2", ["a"], ["a"], "C")]
    edits = jiwer_errors(utterances)
    assert edits == [4, 0]
    assert utterances[0].num_errors == 5
    excess = Excess()
    for one, least in zip(utterances, edits, strict=True):
        excess.add([one], [least])
    assert excess.explained().startswith("1 errors above jiwer's least-edit count, in 1 utterances: sclite's")
    assert excess.explained().endswith("(first: u-1, 5 errors against 4)")


def test_equal_counts_need_no_explanation():
    excess = Excess()
    excess.add([utterance("u", ["a"], ["b"], "S")], [1])
    assert excess.explained() == ""


def test_fewer_errors_than_the_minimum_are_an_error():
    with pytest.raises(RuntimeError, match="u: 0 errors, jiwer 1: our alignment is wrong"):
        jiwer_errors([utterance("u", ["a"], ["b"], "C")])
