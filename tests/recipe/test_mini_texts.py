"""Sentences of the mini corpora: reproducible, unique, long enough after normalisation, disjoint patterns."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest

from local.mini.texts import PATTERN_SETS, make_salad, make_sentences
from local.mini.texts import grammar as grammars
from local.mini.texts.generate import FINISHERS, Sentence
from local.mini.texts.words import expand_directive, number
from zipperasr.languages import LanguageTable

LANGUAGES = ("en", "fr", "th", "zh", "de", "es", "ru", "vi", "it", "ar", "ja", "ko", "pt", "pl", "sw")
MIN_WORDS = 4  # after normalisation, in languages scored by words


def normalised_words(language: str, text: str) -> list[str]:
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    normalise = EnglishTextNormalizer() if language == "en" else BasicTextNormalizer()
    return normalise(text).split()


def write_grammar(tmp_path, monkeypatch, text: str) -> None:
    """Write a language file `xx.txt` and make the loader find it."""
    (tmp_path / "xx.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr(grammars, "FOLDER", tmp_path)
    grammars.languages.cache_clear()
    monkeypatch.setattr(grammars, "load", grammars.load.__wrapped__)


@pytest.fixture(autouse=True)
def forget_languages():
    yield
    grammars.languages.cache_clear()


def test_every_language_in_the_table_has_texts(recipe):
    assert set(LanguageTable.load(recipe / "conf" / "languages.tsv").codes) <= set(grammars.languages())


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_are_reproducible_unique_and_without_digits(language):
    for patterns in PATTERN_SETS:
        sentences = make_sentences(language, 300, 1, patterns)
        assert sentences == make_sentences(language, 300, 1, patterns)
        assert len({sentence.written for sentence in sentences}) == 300
        assert not [s.written for s in sentences if re.search(r"[\d{}~=_\[\]]", s.written)]


def test_entries_of_a_slot_are_thinned_evenly(tmp_path, monkeypatch):
    text = "[settings]\nscript plain\nlength 1 9\nentries 3\n[n]\na, b, c, d, e, f\n[m]\nx, y\n"
    write_grammar(tmp_path, monkeypatch, text + "[pretrain]\n{n}\n[recipe]\n{m}\n")
    assert grammars.load("xx").slots == {"n": ["a", "c", "e"], "m": ["x", "y"]}


@pytest.mark.parametrize("language", LANGUAGES)
def test_seeds_and_pattern_sets_give_different_sentences(language):
    first, second = ({s.written for s in make_sentences(language, 200, seed, "recipe")} for seed in (1, 2))
    pretrain = {s.written for s in make_sentences(language, 200, 1, "pretrain")}
    assert len(first & second) < 20
    assert not first & pretrain


@pytest.mark.parametrize("language", LANGUAGES)
def test_pattern_sets_are_disjoint_and_length_limits_leave_enough_sentences(language):
    loaded = grammars.load(language)
    assert not set(loaded.patterns["pretrain"]) & set(loaded.patterns["recipe"])
    shortest, longest = (int(cell) for cell in loaded.settings["length"].split())
    finish = FINISHERS[loaded.settings["script"]]
    for patterns in PATTERN_SETS:
        assert len(loaded.patterns[patterns]) >= 10
        for pattern in loaded.patterns[patterns]:
            alone, rng = replace(loaded, patterns={patterns: [pattern]}), random.Random(0)
            lengths = [len(finish(alone, alone.draw(patterns, rng)).written) for _ in range(40)]
            assert sum(shortest <= length <= longest for length in lengths) >= 20, pattern


@pytest.mark.parametrize("language", ("en", "fr", "de", "es", "ru", "vi", "it", "ar", "pt", "pl", "sw"))
def test_enough_words_remain_after_normalisation(language):
    pytest.importorskip("whisper_normalizer")
    for patterns in PATTERN_SETS:
        counts = [len(normalised_words(language, s.written)) for s in make_sentences(language, 200, 0, patterns)]
        assert min(counts) >= MIN_WORDS
        assert sum(counts) / len(counts) >= 5


@pytest.mark.parametrize("language", LANGUAGES)
def test_word_salad_has_the_words_of_the_patterns_but_none_of_their_sentences(language):
    sentences = make_sentences(language, 300, 3, "recipe")
    salad = make_salad(language, 40, 3, "recipe")
    assert salad == make_salad(language, 40, 3, "recipe")
    letters = {letter for sentence in sentences for letter in sentence.written.lower()}
    assert {letter for line in salad for letter in line.written.lower()} <= letters
    assert all(line.spoken for line in salad)
    assert not {line.written for line in salad} & {sentence.written for sentence in sentences}


def test_arabic_is_written_without_vowels_and_spoken_with_them():
    sentence = make_sentences("ar", 1, 0, "recipe")[0]
    assert not re.search("[\u064b-\u0652]", sentence.written)
    assert re.sub("[\u064b-\u0652]", "", sentence.spoken) == sentence.written
    assert not re.search("[\u064b-\u0650]\u0651", sentence.spoken)  # the doubling mark precedes the vowel


def test_thai_is_written_in_thai_and_spoken_as_phonemes():
    for sentence in make_sentences("th", 50, 0, "recipe"):
        assert re.fullmatch(r"[\u0e01-\u0e4e ]+", sentence.written)
        assert re.fullmatch(r"\[\[[ -~]+\]\]", sentence.spoken)


def test_japanese_is_spoken_in_kana():
    for sentence in make_sentences("ja", 200, 0, "pretrain") + make_sentences("ja", 200, 0, "recipe"):
        assert re.fullmatch(r"[\u3041-\u3096\u30fc。、 ]+", sentence.spoken), sentence


def test_korean_particles_depend_on_the_preceding_sound():
    finish = FINISHERS["korean"]
    loaded = grammars.load("ko")
    assert finish(loaded, "독일~는 시장~로").written == "독일은 시장으로"
    assert finish(loaded, "러시아~는 지하철~로").written == "러시아는 지하철로"


def test_contractions_are_applied():
    assert FINISHERS["plain"](grammars.load("fr"), "près de le pont").written == "Près du pont"


def test_cldr_and_num2words_fill_slots():
    assert expand_directive("@months", "fr")[2] == "mars"
    assert expand_directive("@weekdays", "de")[0] == "Montag"
    assert expand_directive("@territories JP", "es") == ["Japón"]
    assert expand_directive("@languages ja", "it") == ["giapponese"]
    assert expand_directive("@numbers 2 4", "pt") == ["dois", "três", "quatro"]
    assert expand_directive("@ordinals 3 3", "en") == ["third"]
    assert [number("zh", value) for value in (0, 10, 15, 20, 47)] == ["零", "十", "十五", "二十", "四十七"]


def test_unknown_language_and_pattern_set_are_errors():
    with pytest.raises(
        ValueError, match=r"unknown language 'xq'; there are texts for ar, .*; write local/mini/texts/xq"
    ):
        make_sentences("xq", 1, 0, "recipe")
    with pytest.raises(ValueError, match="unknown pattern set 'recipes'; choose from pretrain, recipe"):
        make_sentences("en", 1, 0, "recipes")


BROKEN = {
    "[a]\n@moons\n": r"xx.txt:2: unknown directive @moons; choose from @months",
    "[a]\nb=c\nb=d\n": r"xx.txt:3: 'b' is spoken 'c' and 'd'; keep one",
    "[pretrain]\nhello\n": r"xx.txt: no pattern in section \[recipe\]",
    "[pretrain]\nhello\n[recipe]\nhello\n": r"xx.txt: pattern 'hello' is in both sets",
    "[pretrain]\nhello {who}\n[recipe]\nbye\n": r"xx.txt: 'hello \{who\}': no section \[who\]",
}


@pytest.mark.parametrize("text", BROKEN)
def test_errors_in_a_language_file_name_their_location(text, tmp_path, monkeypatch):
    write_grammar(tmp_path, monkeypatch, text)
    with pytest.raises(ValueError, match=BROKEN[text]):
        grammars.load("xx")


def test_a_word_without_phonemes_is_an_error():
    with pytest.raises(ValueError, match=r"th.txt: no phonemes for 'xyz'; add xyz=... to \[words\]"):
        FINISHERS["phonemes"](grammars.load("th"), "ไป xyz")


def test_a_grammar_that_is_too_small_is_an_error_with_its_number_of_sentences(tmp_path, monkeypatch):
    text = "[settings]\nscript plain\nlength 1 99\n[who]\nyou, me\n[pretrain]\nhello {who}\n[recipe]\nbye {who}\n"
    write_grammar(tmp_path, monkeypatch, text)
    monkeypatch.setattr("local.mini.texts.generate.load", grammars.load)
    assert set(make_sentences("xx", 2, 0, "recipe")) == {Sentence(s, s) for s in ("Bye you", "Bye me")}
    with pytest.raises(ValueError, match=r"xx.txt: got 2 different sentences, wanted 3; ask for fewer"):
        make_sentences("xx", 3, 0, "recipe")
