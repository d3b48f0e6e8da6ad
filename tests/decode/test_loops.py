"""Loops: found, and cut after their first repetition."""

from __future__ import annotations

import torch

from tests.model import tiny
from zipperasr.decode.greedy import Encoded
from zipperasr.decode.loops import LoopGuard
from zipperasr.model.prompt import hypothesis_text


def guard(retries: bool = True) -> LoopGuard:
    return LoopGuard(lambda tokens: hypothesis_text(tiny.llm_tokenizer(), tokens), retries)


def found(text: str, **state) -> Encoded:
    return Encoded("u", torch.zeros(1, 1), 500, list(tiny.llm_tokenizer()(text)["input_ids"]), **state)


def test_compressible_text_is_cut_only_if_it_is_a_loop():
    """Eleven words repeated three times: zlib compresses the text well, but no n-gram occurs four times in a row."""
    text = "der kleine hund und die alte katze sehen den roten ball. " * 3
    three_times = found(text, ended=True, no_repeat=4)
    assert guard().cut(three_times) == (three_times.tokens, "a loop, decoded again without repetition")
    with_loop = found(text + "ja ja ja ja ", ended=True, no_repeat=4)
    kept, note = guard().cut(with_loop)
    assert note == "a loop, cut after its first repetition"
    assert len(three_times.tokens) < len(kept) < len(with_loop.tokens)


def test_a_loop_is_searched_again_once_and_speech_that_repeats_a_word_is_not():
    loop = found("so und so und so und so und so und ", ended=False)
    assert guard().again(loop) and loop.tokens == [] and loop.no_repeat > 0
    assert not guard().again(loop)
    assert not guard().again(found("nein nein nein nein", ended=True))


def test_a_text_that_ends_before_what_is_not_a_number_has_a_note():
    half = found("nein ", undefined=True)
    note = f"cut off after {len(half.tokens)} tokens: the model's output is not a number"
    assert guard().cut(half) == (half.tokens, note)


def test_without_retries_loops_stay():
    loop = found("so und so und so und so und so und ", ended=False)
    assert not guard(retries=False).again(loop)
    assert guard(retries=False).cut(loop) == (loop.tokens, "cut off at 500 tokens, the limit for its audio")
