"""Words and tokens of a text, with probabilities that follow from those of the decoded tokens."""

from __future__ import annotations

import math

import pytest
from transformers import AutoTokenizer

from tests.model import tiny
from tests.transcribe.sound import noise
from zipperasr.decode import token_texts
from zipperasr.decode.decoder import Decoded
from zipperasr.transcribe.confidence import tokens_of, words_of
from zipperasr.transcribe.transcript import Token, Word

TOKENS = (Token(" the", -0.1), Token(" ze", -1.0), Token("bra", -2.0), Token(".", -3.0), Token(" ", -4.0))


def test_a_word_has_the_mean_log_probability_of_its_tokens():
    wanted = (("the", -0.1), ("zebra.", -2.0))
    found = words_of("the zebra.", TOKENS, "wer")
    assert [(word.text, pytest.approx(math.log(word.confidence))) for word in found] == [*wanted]


def test_languages_scored_by_characters_have_a_confidence_for_each_character():
    tokens = (Token("你好", -0.5), Token(" 吗", -1.0))
    found = [(word.text, round(math.log(word.confidence), 6)) for word in words_of("你好 吗", tokens, "cer")]
    assert found == [("你", -0.5), ("好", -0.5), ("吗", -1)]


def test_a_token_across_a_space_counts_for_both_words():
    found = words_of("a b c", (Token("a b", -1.0), Token(" c", -3.0)), "wer")
    assert [round(math.log(word.confidence), 6) for word in found] == [-1, -1, -3]


def test_without_log_probabilities_there_are_words_without_confidence():
    assert words_of("guten  Tag", (), "wer") == (Word("guten"), Word("Tag"))
    assert words_of("", (), "wer") == ()


def test_tokens_of_split_characters_are_joined_and_added_tokens_left_out(qwen3_files):
    tokenizer = AutoTokenizer.from_pretrained(qwen3_files)
    think = tokenizer.convert_tokens_to_ids("<think>")
    zebra = tokenizer("🦓", add_special_tokens=False)["input_ids"]
    ids = [think, *zebra, *tokenizer(" ja", add_special_tokens=False)["input_ids"]]
    assert len(zebra) > 1
    logprobs = tuple(-0.25 * number for number in range(len(ids)))
    decoded = Decoded(tiny.example("u", "de", 1600, "", seed=1), "🦓 ja", tuple(ids), logprobs=logprobs)
    tokens = tokens_of(decoded, tokenizer)
    assert tokens == (Token("🦓", sum(logprobs[1 : 1 + len(zebra)]), len(zebra)), Token(" ja", logprobs[-1]))


def test_joined_tokens_count_each_in_the_mean():
    tokens = (Token("猫", -3.0, 3), Token("x", -2.0), Token(" y", -0.5))
    found = [(word.text, round(math.log(word.confidence), 6)) for word in words_of("猫x y", tokens, "wer")]
    assert found == [("猫x", -1.25), ("y", -0.5)]


def test_a_text_that_cannot_be_divided_has_the_mean_of_all_its_tokens(monkeypatch):
    tokenizer = tiny.llm_tokenizer()
    ids = tokenizer("ja ja")["input_ids"]
    monkeypatch.setattr(token_texts, "_runs", lambda *_: [(len(ids), "not the text")])
    decoded = Decoded(tiny.example("u", "de", 1600, ""), "ja ja", tuple(ids), logprobs=(-0.5,) * len(ids))
    tokens = tokens_of(decoded, tokenizer)
    assert tokens == (Token("ja ja", -2.5, 5),)
    assert [round(math.log(word.confidence), 6) for word in words_of("ja ja", tokens, "wer")] == [-0.5, -0.5]


def test_segments_have_words_tokens_and_an_average(transcriber):
    for lang in ("de", "ja"):
        transcript = transcriber(noise(2.0), lang=lang)
        (segment,) = transcript.segments
        text = "".join(token.text for token in segment.tokens)
        assert text.strip() == segment.text and segment.avg_logprob < 0
        assert "".join(word.text for word in segment.words) == "".join(segment.text.split())
        assert all(0 < word.confidence <= 1 for word in segment.words)
        if lang == "ja":
            assert {len(word.text) for word in segment.words} == {1}
