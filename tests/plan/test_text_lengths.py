"""The table of text lengths matches the real vocabulary, the synthesiser and the prompts."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from local.mini.espeak import SAMPLE_RATE_HZ, Espeak, Voice
from local.mini.texts import PATTERN_SETS, make_sentences
from zipperasr.languages import LanguageTable
from zipperasr.model.prompt import prompt_ids
from zipperasr.plan.steps import AssumedSpeech
from zipperasr.plan.text_lengths import ENGLISH_WORDS_PER_S, TEXT_LENGTHS, mean_tokens
from zipperasr.prepare.dataset_table import DatasetRow
from zipperasr.score.normalise import whisper_marks


@pytest.fixture(scope="module")
def table(recipe) -> LanguageTable:
    return LanguageTable.load(recipe / "conf" / "languages.tsv")


def spoken(code: str) -> tuple[list[str], float]:
    """Thirty sentences without punctuation, and their duration in the first voice of the synthesiser."""
    sentences = make_sentences(code, 30, 1, "recipe")
    espeak = Espeak()
    samples = sum(len(espeak.say(sentence.spoken, code, Voice())) for sentence in sentences)
    return [whisper_marks(sentence.written) for sentence in sentences], samples / SAMPLE_RATE_HZ


def row(code: str, hours: float | None) -> DatasetRow:
    return DatasetRow("sft", "mls", "mls", code, "train", hours, "dev", ("test",), (1.0,), None, None)


def test_tokens_in_the_table_equal_those_of_qwen3(qwen3_files, table):
    tokenizer = AutoTokenizer.from_pretrained(qwen3_files)
    assert list(TEXT_LENGTHS) == table.codes
    for language in table:
        sentences = [one for patterns in PATTERN_SETS for one in make_sentences(language.code, 300, 1, patterns)]
        texts = [whisper_marks(sentence.written) for sentence in sentences]
        tokens = sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))
        listed = TEXT_LENGTHS[language.code]
        assert sum(map(len, texts)) / tokens == pytest.approx(listed.characters_per_token, abs=0.006), language.code
        assert len(prompt_ids(tokenizer, language)) == listed.prompt_tokens


def test_speaking_rates_equal_the_synthesisers_relative_to_english():
    texts, english_s = spoken("en")
    slower = ENGLISH_WORDS_PER_S * english_s / sum(len(text.split()) for text in texts)
    for code, listed in TEXT_LENGTHS.items():
        texts, seconds = spoken(code)
        rate = slower * sum(map(len, texts)) / seconds  # espeak-ng keeps some state between calls in a process
        assert rate == pytest.approx(listed.characters_per_s, rel=0.02), code


def test_text_lengths_of_a_phase_are_weighted_by_hours():
    assumed = AssumedSpeech().in_languages([row("zh", 1.0), row("ru", 2.0), row("zh", 1.0), row("xx", 50.0)])
    assert assumed.tokens_per_s == pytest.approx((3.1 / 1.5 + 14.7 / 2.72) / 2)
    assert assumed.prompt_tokens == 15
    assert assumed.utterance_s == AssumedSpeech().utterance_s


def test_without_a_known_language_or_hours_the_mean_is_used():
    mean = mean_tokens(dict.fromkeys(TEXT_LENGTHS, 1.0))
    assert mean_tokens({"xx": 5.0}) == mean_tokens({}) == mean
    assert AssumedSpeech().in_languages([row("de", None)]) == AssumedSpeech()
