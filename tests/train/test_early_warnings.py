"""What a training says about its data before the first step."""

from __future__ import annotations

import math

from tests.model import tiny
from zipperasr.batching.manifest import open_kind
from zipperasr.train.early_warnings import data_warnings, end_token_warning


def test_the_log_has_the_facts_before_the_first_step(one_process):
    log = (one_process / "rank0.log").read_text()
    size = len(tiny.llm_tokenizer())
    assert "sft: note: no training data in ja" in log
    assert f"a uniform guess over {size:,} tokens has a loss of {math.log(size):.2f}" in log


def test_good_data_needs_no_note(tiny_recipe):
    train = open_kind(tiny_recipe / "dump/manifest", "train", "sft")
    assert data_warnings(train, ("de", "es"), tiny.llm_tokenizer(), 72) == []


def test_an_end_token_that_the_llm_does_not_use_is_named():
    tokenizer = tiny.llm_tokenizer()
    end, other = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert end_token_warning(tokenizer, []) == end_token_warning(tokenizer, [other, end]) == []
    (line,) = end_token_warning(tokenizer, [other])
    assert line == "transcripts end with <|im_end|>; the LLM itself ends texts with <|endoftext|> and has to learn this"


def test_long_utterances_and_unknown_tokens_are_counted(tiny_recipe):
    train, tokenizer = open_kind(tiny_recipe / "dump/manifest", "train", "sft"), tiny.llm_tokenizer()
    total = sum(int(manifest.repeat.sum()) for manifest in train)
    limit = max(int(manifest.positions.max()) for manifest in train) - 1
    long = sum(int((manifest.positions > limit).sum()) for manifest in train)
    assert 0 < long < total
    (line,) = data_warnings(train, (), tokenizer, limit)
    assert line == f"{long} of {total} utterances are longer than {limit} positions and left out"
    tokenizer.unk_token = tokenizer.convert_ids_to_tokens(tokenizer("z", add_special_tokens=False)["input_ids"][0])
    (line,) = data_warnings(train, (), tokenizer, 72)
    assert "of the label tokens are unknown to the tokenizer, as in " in line and "z" in line
