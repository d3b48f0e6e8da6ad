"""The texts of tokens join to the decoded text and are cut between characters only."""

from __future__ import annotations

import random

import pytest
from transformers import AutoTokenizer

from tests.model import published
from zipperasr.decode.token_texts import token_texts

SPLIT = "𠮷野家で食べる 🦓 กุ้ง"  # the published vocabulary has parts of some of these characters


@pytest.fixture(scope="module", params=["qwen3", "mini"])
def tokenizer(request, recipe):
    if request.param == "mini":  # SentencePiece's spaces and byte tokens
        return AutoTokenizer.from_pretrained(recipe / "local" / "mini" / "weights" / "llm")
    return AutoTokenizer.from_pretrained(request.getfixturevalue("qwen3_files"))


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", ["", " ", "guten Tag, Frau Müller", SPLIT, *published.HARD_TEXTS])
def test_the_runs_are_as_short_as_whole_characters_allow(tokenizer, text):
    ids = ids_of(tokenizer, text)
    runs = token_texts(tokenizer, ids)
    assert "".join(part for _, part in runs) == tokenizer.decode(ids)
    assert sum(count for count, _ in runs) == len(ids)
    assert not any("\N{REPLACEMENT CHARACTER}" in part for _, part in runs)
    start = 0
    for count, _ in runs:
        for end in range(start + 1, start + count):
            assert tokenizer.decode(ids[start:end]).endswith("\N{REPLACEMENT CHARACTER}")
        start += count


def test_some_characters_are_split_between_tokens(tokenizer):
    assert max(count for count, _ in token_texts(tokenizer, ids_of(tokenizer, SPLIT))) > 1


def test_no_token_is_lost_in_random_output(tokenizer):
    rng, exact = random.Random(1), 0
    for _ in range(300):
        ids = [rng.randrange(1000) for _ in range(rng.randrange(1, 12))]
        runs = token_texts(tokenizer, ids)
        assert "".join(part for _, part in runs) == tokenizer.decode(ids)
        assert sum(count for count, _ in runs) == len(ids)
        exact += len(runs) > 1
    assert exact > 100
