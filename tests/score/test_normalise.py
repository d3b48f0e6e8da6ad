from __future__ import annotations

import pytest

from tests.score.example import SENTENCES
from zipperasr.score.normalise import NORMALISERS, has_marks, normaliser, split_units, whisper

# Output of Whisper's basic normaliser for each script
BASIC = {
    "fr": ("Où est la gare ? C'est l'été.", "où est la gare c est l été"),
    "th": ("น้ำสวัสดี", "น าสว สด"),
    "zh": ("你好，世界。", "你好 世界"),
    "de": ("Fünf große Häuser!", "fünf große häuser"),
    "es": ("¿Dónde está el niño?", "dónde está el niño"),
    "ru": ("Ещё один день — й.", "ещё один день й"),
    "vi": ("Tôi ở Hà Nội.", "tôi ở hà nội"),
    "it": ("Perché no? L'età", "perché no l età"),
    "ar": ("مَرْحَبًا، بك", "م ر ح ب ا بك"),
    "ja": ("「か\u3099んばって」", "がんばって"),
    "ko": ("안녕하세요, 여러분!", "안녕하세요 여러분"),
    "pt": ("Não sei, São Paulo.", "não sei são paulo"),
}


@pytest.mark.parametrize("code", sorted(BASIC))
def test_whisper_on_every_script(code):
    text, wanted = BASIC[code]
    assert NORMALISERS["whisper"](text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("น้ำสวัสดี", "น้ํา" + "สวัสดี"), ("مَرْحَبًا، بك", "مَرْحَبًا بك"), ("Tôi ở Hà Nội.", "tôi ở hà nội")],
    ids=["th", "ar", "vi"],
)
def test_whisper_marks_keeps_what_whisper_deletes(text, wanted):
    assert NORMALISERS["whisper_marks"](text) == wanted


def test_whisper_en_joins_spelled_numbers_and_unifies_spelling():
    assert NORMALISERS["whisper_en"]("Nine one two: Mr. Smith won't colour it.") == "912 mister smith will not color it"


def test_whisper_en_agrees_with_transformers_normaliser():
    """Our copy of Whisper's rules equals the one in transformers."""
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer as Package

    transformers_normaliser = EnglishTextNormalizer(Package().standardize_spellings.mapping)
    sentences = [
        "On the twenty-first of May, 1999, it cost $3.50 or fifty per cent more.",
        "Y'all can't've known; she's gone, he'd have [noise] stayed (maybe) at ten past four.",
        "The two hundred and third organisation's programme, uh, ain't double oh seven.",
        *(reference for reference, _ in SENTENCES["en"]),
    ]
    for sentence in sentences:
        assert NORMALISERS["whisper_en"](sentence) == transformers_normaliser(sentence).strip()


@pytest.mark.parametrize("name", sorted(NORMALISERS))
def test_no_normaliser_removes_a_whole_sentence(name):
    for sentences in SENTENCES.values():
        assert all(NORMALISERS[name](reference) for reference, _ in sentences)


def test_units_are_words_for_wer_and_graphemes_without_spaces_for_cer():
    assert split_units("สวัสดี ครับ", "wer") == ["สวัสดี", "ครับ"]
    assert split_units("กี่ ข", "cer") == ["กี่", "ข"]
    assert split_units("", "cer") == []


@pytest.mark.parametrize("code", ["th", "zh", "ja", "ko"])
def test_a_grapheme_is_one_code_point_after_the_papers_normaliser(code):
    for reference, hypothesis in SENTENCES[code]:
        for text in (whisper(reference), whisper(hypothesis)):
            assert split_units(text, "cer") == [letter for letter in text if letter != " "]


def test_marks_absorbed_by_composition_are_not_counted():
    assert has_marks("น้ำ")
    assert has_marks("مَرْحَبًا")
    assert not has_marks("e\u0301te\u0301 Hà Nội か\u3099")


def test_unknown_normaliser_names_the_nearest():
    with pytest.raises(ValueError, match="unknown normaliser 'wisper_en'; did you mean 'whisper_en'"):
        normaliser("wisper_en")
