"""Components of greedy search."""

from __future__ import annotations

import pytest
import torch
from transformers import NoRepeatNGramLogitsProcessor

from tests.model import tiny
from zipperasr.decode.greedy import Encoded, GreedySearch, repeating
from zipperasr.model.backbones.merged_decoder import MergedDecoder


@pytest.fixture(scope="module")
def llm(backbones) -> MergedDecoder:
    model = tiny.align_model(tiny.model_config(backbones))
    return MergedDecoder(model.causal_lm, model.llm_family)


def found(search: GreedySearch, utterances: list[Encoded]) -> list[tuple[object, list[int]]]:
    return [(one.key, one.tokens) for one in search.run(utterances)]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_banned_n_gram_tokens_equal_those_of_transformers(size):
    generator = torch.Generator().manual_seed(size)
    found = []
    for length in range(1, 24):
        tokens = torch.randint(0, 2, (1, length), generator=generator)
        banned = NoRepeatNGramLogitsProcessor(size)(tokens, torch.zeros(1, 2))[0].isinf().nonzero().flatten().tolist()
        found.append(sorted(set(repeating(tokens[0].tolist(), size))))
        assert found[-1] == banned
    assert any(found)


@pytest.mark.parametrize("rows", [2, 4])
def test_an_utterance_that_is_not_a_number_ends_and_changes_no_other(llm, rows):
    width = llm.shape.width
    rng = torch.Generator().manual_seed(1)
    good = [Encoded(n, torch.randn(4 + n * 7 % 23, width, generator=rng), 6 + n % 5) for n in range(12)]
    (alone,) = zip(*(found(GreedySearch(llm, (), 1, 4096), [one]) for one in good), strict=True)
    again = []
    search = GreedySearch(llm, (), rows, 4096, lambda one: again.append(one.key) or False)
    bad = [Encoded(f"bad {n}", torch.full((30, width), torch.nan), 8) for n in range(3)]
    for one in good:
        one.restart()
    both = dict(found(search, [*good[:3], bad[0], *good[3:6], bad[1], bad[2], *good[6:]]))
    assert {key: tokens for key, tokens in both.items() if isinstance(key, int)} == dict(alone)
    assert [(one.tokens, one.logprobs, one.undefined, one.ended) for one in bad] == [([], [], True, False)] * 3
    assert set(again) == set(range(12)), "what is not a number is not decoded again"
