"""Network alignment: on plain words it equals the table alignment; with alternations it has the lowest cost."""

from __future__ import annotations

import itertools

import pytest

from tests.score.sclite.test_align import random_pairs
from zipperasr.score.sclite.align import align_all
from zipperasr.score.sclite.alternation import Alternation, parse
from zipperasr.score.sclite.network import arcs_of
from zipperasr.score.sclite.network_align import align_networks
from zipperasr.score.sclite.words import WordRules


def align(ref: str, hyp: str, **rules: bool) -> tuple[str, str, str]:
    chosen = WordRules(**rules)
    references, hypotheses, operations = align_networks(arcs_of(ref.encode(), chosen), arcs_of(hyp.encode(), chosen))
    return b" ".join(references).decode(), b" ".join(hypotheses).decode(), operations


def test_plain_words_are_aligned_as_in_the_tables():
    pairs = random_pairs(200, seed=5)
    found = [align(" ".join(ref), " ".join(hyp))[2] for ref, hyp in pairs]
    assert found == align_all(pairs)


def ways(parts: list[bytes | Alternation]) -> list[list[bytes]]:
    """All sequences of words that a transcript allows."""
    choices = [
        [row for alternative in part.alternatives for row in ways(alternative)]
        if isinstance(part, Alternation)
        else [[part] if part != b"@" else []]
        for part in parts
    ]
    return [list(itertools.chain.from_iterable(choice)) for choice in itertools.product(*choices)]


@pytest.mark.parametrize("hyp", ["a d", "b c d", "e f d g", "d", "x d d", ""])
def test_the_cheapest_alternative_is_selected(hyp):
    ref = "{ a / b { c / @ } / { e f / g } h } d"

    def cost(operations: str) -> int:
        return 4 * operations.count("S") + 3 * (operations.count("D") + operations.count("I"))

    least = min(cost(align(b" ".join(way).decode(), hyp)[2]) for way in ways(parse(ref.encode())))
    assert cost(align(ref, hyp)[2]) == least


def test_optional_words_are_correct_if_omitted():
    assert align("(uh) a", "a", optional=True) == ("(uh) a", " a", "CC")
    assert align("a", "(uh) a", optional=True) == (" a", "(uh) a", "CC")
    assert align("(uh) a", "uh b", optional=True) == ("(uh) a", "uh b", "CS")
    assert align("(uh) a", "a") == ("(uh) a", "a", "DC")


@pytest.mark.parametrize(
    ("ref", "hyp", "wanted"),
    [("wor-", "world", "C"), ("-ld", "world", "C"), ("world", "wo-", "C"), ("wor-", "word-", "C"), ("-ld", "d", "S")],
)
def test_fragments_match_words_that_begin_or_end_with_them(ref, hyp, wanted):
    assert align(ref, hyp, fragments=True)[2] == wanted


def test_the_empty_word_does_not_appear_in_results():
    assert align("@ a @", "@ b") == ("a", "b", "S")
    assert align("@", "") == ("", "", "")
