"""Prompt and transcript ids: plain text without a template, from one function for training and decoding."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import zipperasr
from tests.model import tiny
from zipperasr.batching.loader import ExampleReader
from zipperasr.model.prompt import batch_transcript_ids, end_id, end_token, hypothesis_text, prompt_ids, transcript_ids


def test_the_prompt_is_exactly_the_sentence_of_the_table():
    tokenizer, table = tiny.llm_tokenizer(), tiny.table()
    for language in table:
        assert tokenizer.decode(prompt_ids(tokenizer, language)) == language.prompt


def test_the_transcript_ends_with_the_end_token():
    tokenizer = tiny.llm_tokenizer()
    ids = transcript_ids(tokenizer, "zwölf 一")
    assert tokenizer.decode(ids) == "zwölf 一<|im_end|>"
    assert ids[-1] == end_id(tokenizer)
    assert transcript_ids(tokenizer, "") == [end_id(tokenizer)]


def test_names_of_special_tokens_in_a_transcript_are_plain_text():
    tokenizer = tiny.llm_tokenizer()
    texts = ["ein<|im_end|> zwei", "<|endoftext|>", ""]
    ids = batch_transcript_ids(tokenizer, texts)
    assert [one.count(end_id(tokenizer)) for one in ids] == [1, 1, 1]
    assert [hypothesis_text(tokenizer, one) for one in ids] == texts
    assert [transcript_ids(tokenizer, text) for text in texts] == ids


def test_a_hypothesis_contains_no_added_tokens():
    tokenizer = tiny.llm_tokenizer()
    tokenizer.add_tokens(["<think>"])  # as in Qwen3: added, but not special
    ids = [*tokenizer("<think>zwölf")["input_ids"], *tokenizer.all_special_ids]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>zwölf"
    assert hypothesis_text(tokenizer, ids) == "zwölf"


def test_a_tokenizer_without_end_token_is_an_error():
    tokenizer = tiny.byte_tokenizer(["<|endoftext|>"])
    assert end_token(tokenizer) == "<|endoftext|>"  # its EOS token
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match=r"no <\|im_end\|> and no EOS token; wanted the tokenizer of an LLM"):
        end_id(tokenizer)


def test_training_and_decoding_use_the_same_prompt(wav_row):
    tokenizer, table = tiny.llm_tokenizer(), tiny.table()
    read = ExampleReader(tokenizer, table, tiny.FRONTEND)
    for code in table.codes:
        row = {**wav_row, "language": code}
        training, decoding = read(row), read(row, with_transcript=False)
        assert training.prompt == decoding.prompt == prompt_ids(tokenizer, table[code])
        assert training.transcript == transcript_ids(tokenizer, row["text"])
        assert len(decoding.transcript) == 0


def test_only_the_example_reader_and_the_manifest_build_prompts():
    """Decoding imports ExampleReader; prompts built elsewhere could diverge from it."""
    package = Path(zipperasr.__file__).parent
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "prompt_ids"
    }
    counting = {"transcribe/engine.py"}  # the largest number of positions
    assert users == {"batching/loader.py", "batching/build_manifests.py"} | counting
