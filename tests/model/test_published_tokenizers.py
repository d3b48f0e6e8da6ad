"""The tokenizers of Whisper large-v3 and Qwen3: published ids, round trips, labels, two reference tokenizers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import unicodedata

import pytest
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from tests.model import published, tiny
from zipperasr.batching.batch import Example, collate_text
from zipperasr.model.bpe_ranks import QWEN_RANKS, RanksFile, last_merge, read_ranks
from zipperasr.model.prompt import batch_transcript_ids, end_id, hypothesis_text, prompt_ids, transcript_ids
from zipperasr.model.published_tokenizers import QWEN_MARKUP, WHISPER_LANGUAGES

# the digest of Qwen/Qwen3-1.7B's published file; for large-v3 only the length is known
QWEN_TOKENIZER_SHA256 = "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4"
WHISPER_TOKENIZER_BYTES = 2_480_617
MAX_POSITIONS = 2048

LANGUAGES = list(tiny.table())
each_language = pytest.mark.parametrize("language", LANGUAGES, ids=[language.code for language in LANGUAGES])


@pytest.fixture(scope="module")
def whisper(whisper_files):
    return AutoTokenizer.from_pretrained(whisper_files)


@pytest.fixture(scope="module")
def qwen3(qwen3_files):
    return AutoTokenizer.from_pretrained(qwen3_files)


@pytest.fixture(scope="module")
def openai_whisper(whisper_files):
    return published.whisper_package().get_tokenizer(multilingual=True, num_languages=100)


def test_the_files_equal_the_published_ones(whisper_files, qwen3_files):
    assert hashlib.sha256((qwen3_files / "tokenizer.json").read_bytes()).hexdigest() == QWEN_TOKENIZER_SHA256
    assert len((whisper_files / "tokenizer.json").read_bytes()) == WHISPER_TOKENIZER_BYTES


def test_ids_equal_the_published_ones(whisper, qwen3):
    ids = {
        "<|endoftext|>": 151_643,
        "<|im_end|>": 151_645,
        "<|video_pad|>": 151_656,
        "<think>": 151_667,
        "</think>": 151_668,
    }
    assert {token: qwen3.convert_tokens_to_ids(token) for token in ids} == ids
    assert (qwen3.eos_token, qwen3.pad_token, qwen3.bos_token) == ("<|im_end|>", "<|endoftext|>", None)
    ids = {"<|endoftext|>": 50_257, "<|startoftranscript|>": 50_258, "<|en|>": 50_259, "<|yue|>": 50_358}
    ids |= {"<|translate|>": 50_359, "<|nospeech|>": 50_363, "<|notimestamps|>": 50_364}
    ids |= {"<|0.00|>": 50_365, "<|30.00|>": 51_865}
    assert {token: whisper.convert_tokens_to_ids(token) for token in ids} == ids
    assert len(WHISPER_LANGUAGES) == 100


def test_the_embeddings_have_a_row_for_every_token(whisper, qwen3, whisper_files, qwen3_files):
    assert len(whisper) == AutoConfig.from_pretrained(whisper_files).vocab_size == 51_866
    assert len(qwen3) == 151_669 <= AutoConfig.from_pretrained(qwen3_files).vocab_size == 151_936


def test_generation_settings_equal_those_of_openai_whisper(whisper_files, openai_whisper):
    settings = GenerationConfig.from_pretrained(whisper_files)
    tasks = [openai_whisper.special_tokens[f"<|{task}|>"] for task in ("transcribe", "translate")]
    others = (openai_whisper.sot, openai_whisper.sot_prev, openai_whisper.sot_lm, openai_whisper.no_speech)
    assert settings.suppress_tokens == sorted([*openai_whisper.non_speech_tokens, *tasks, *others])
    assert settings.begin_suppress_tokens == [*openai_whisper.encode(" "), openai_whisper.eot]
    assert settings.lang_to_id == dict(
        sorted((token, openai_whisper.special_tokens[token]) for token in WHISPER_LANGUAGES)
    )
    assert settings.task_to_id == {"transcribe": tasks[0], "translate": tasks[1]}
    assert settings.no_timestamps_token_id == openai_whisper.no_timestamps
    assert settings.decoder_start_token_id == openai_whisper.sot and settings.is_multilingual


def test_whisper_encodes_as_openai_whisper_does(whisper, openai_whisper):
    assert whisper.get_added_vocab() == openai_whisper.special_tokens
    texts = [*published.HARD_TEXTS, *published.random_texts(3000, seed=1)]
    ours = whisper(texts, add_special_tokens=False)["input_ids"]
    assert ours == [openai_whisper.encode(text, disallowed_special=()) for text in texts]


def test_qwen3_encodes_as_tiktoken_does(qwen3):
    oracle = published.qwen_tiktoken()
    texts = [*published.HARD_TEXTS, *published.random_texts(3000, seed=2)]
    ours = qwen3(texts, add_special_tokens=False)["input_ids"]
    assert ours == [oracle.encode_ordinary(unicodedata.normalize("NFC", text)) for text in texts]


@each_language
def test_prompts_and_transcripts_round_trip(qwen3, language):
    assert qwen3.decode(prompt_ids(qwen3, language)) == language.prompt
    texts = published.normalised(language, published.sentences(language))
    assert len(texts) > 500
    ids = batch_transcript_ids(qwen3, texts)
    assert {one[-1] for one in ids} == {151_645}
    assert [hypothesis_text(qwen3, one) for one in ids] == [unicodedata.normalize("NFC", text) for text in texts]


@pytest.mark.parametrize("text", published.HARD_TEXTS)
def test_difficult_texts_round_trip_in_both_normal_forms(qwen3, text):
    ids = transcript_ids(qwen3, text)
    assert hypothesis_text(qwen3, ids) == unicodedata.normalize("NFC", text)
    assert transcript_ids(qwen3, unicodedata.normalize("NFD", text)) == ids


def test_names_of_special_tokens_in_a_transcript_are_plain_text(qwen3):
    text = "he said <|im_end|> and <|endoftext|>"
    ids = transcript_ids(qwen3, text)
    assert ids.count(end_id(qwen3)) == 1 and max(ids[:-1]) < 151_643
    assert hypothesis_text(qwen3, ids) == text


def test_a_hypothesis_contains_no_added_tokens_and_no_unused_ids(qwen3):
    words = qwen3("guten Tag")["input_ids"]
    others = [*sorted(qwen3.added_tokens_decoder), 151_669, 151_935]
    assert {*QWEN_MARKUP} < {qwen3.decode([token_id]) for token_id in others}  # which `decode` would print
    assert hypothesis_text(qwen3, [token for word in words for token in (*others, word, *others)]) == "guten Tag"


def test_labels_of_a_full_pack_decode_to_its_transcripts(qwen3):
    texts, examples, positions = [], [], 0
    for language in LANGUAGES:
        for text in published.sentences(language)[:40]:
            prompt, transcript = prompt_ids(qwen3, language), transcript_ids(qwen3, text)
            one = Example(text, language.code, None, 16_000 + 800 * len(text), prompt, transcript)
            if positions + one.positions <= MAX_POSITIONS:
                texts, examples, positions = [*texts, text], [*examples, one], positions + one.positions
    packed = collate_text(examples)
    assert len(packed.input_ids) == sum(packed.lengths) == positions > 0.95 * MAX_POSITIONS
    labels = packed.input_ids[packed.label_places].tolist()
    assert qwen3.decode(labels).split("<|im_end|>") == [*texts, ""]
    starts = [place for place, position in enumerate(packed.position_ids) if position == 0]
    for start, length, one in zip(starts, packed.lengths, examples, strict=True):
        own = packed.input_ids[start : start + length].tolist()
        assert own == [*one.prompt, *[0] * one.speech_positions, *one.transcript]


def test_a_missing_package_is_an_error_with_its_installer():
    with pytest.raises(FileNotFoundError, match=r"package no-such-package is not installed; .*install_vocabularies"):
        read_ranks(dataclasses.replace(QWEN_RANKS, package="no-such-package"))
    with pytest.raises(FileNotFoundError, match=r"b\.tiktoken: missing from the installed pytest; .*install_voc"):
        read_ranks(RanksFile("pytest", "pytest/b.tiktoken", "0"))


def test_another_file_is_an_error_that_names_both_digests():
    with pytest.raises(ValueError, match=r"py\.typed: got SHA-256 e3b0c44\w+, wanted 123; .*install_vocabularies\.sh"):
        read_ranks(RanksFile("pytest", "pytest/py.typed", "123"))


def test_other_files_in_the_directory_are_kept(qwen3_files, recipe):
    published_config = recipe / "conf" / "full" / "architectures" / "Qwen3-1.7B" / "config.json"
    assert json.loads((qwen3_files / "config.json").read_text()) == json.loads(published_config.read_text())


def test_merges_are_derived_from_the_lowest_ranks():
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"bc": 256, b"ab": 257, b"abc": 258, b"bcd": 259}
    assert last_merge(b"abc", ranks) == [b"a", b"bc"]
    assert last_merge(b"ab", ranks) == [b"a", b"b"]
