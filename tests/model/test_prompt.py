"""Prompt and transcript ids: raw text, no template, one function for training and decoding."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import zipperasr
from tests.model import tiny
from zipperasr.data.loader import ExampleReader
from zipperasr.model.prompt import end_id, prompt_ids, transcript_ids


def test_the_prompt_is_the_tables_sentence_and_nothing_else():
    tokenizer, table = tiny.llm_tokenizer(), tiny.table()
    for language in table:
        assert tokenizer.decode(prompt_ids(tokenizer, language)) == language.prompt


def test_the_transcript_ends_with_the_end_token():
    tokenizer = tiny.llm_tokenizer()
    ids = transcript_ids(tokenizer, "zwölf 一")
    assert tokenizer.decode(ids) == "zwölf 一<|im_end|>"
    assert ids[-1] == end_id(tokenizer)
    assert transcript_ids(tokenizer, "") == [end_id(tokenizer)]


def test_a_tokenizer_without_end_token_is_an_error():
    with pytest.raises(ValueError, match=r"no <\|im_end\|> token; wanted a Qwen3 tokenizer"):
        end_id(tiny.byte_tokenizer(["<|endoftext|>"]))


def test_training_and_decoding_read_the_same_prompt(wav_row):
    tokenizer, table = tiny.llm_tokenizer(), tiny.table()
    read = ExampleReader(tokenizer, table, tiny.MEL_BINS)
    for code in table.codes:
        row = {**wav_row, "language": code}
        training, decoding = read(row), read(row, with_transcript=False)
        assert training.prompt == decoding.prompt == prompt_ids(tokenizer, table[code])
        assert training.transcript == transcript_ids(tokenizer, row["text"])
        assert len(decoding.transcript) == 0


def test_only_the_example_reader_and_the_manifest_build_prompts():
    """Decoding imports ExampleReader; a second place that builds prompts could drift from it."""
    package = Path(zipperasr.__file__).parent
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "prompt_ids"
    }
    assert users == {"data/loader.py", "data/manifest.py"}
