from __future__ import annotations

import pytest

from zipperasr.score.sclite.words import WordRules, undecorated


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("plain", "plain"),
        ("word;tag1;tag2", "word"),
        ("with\\;semicolon", "with;semicolon"),
        ("with\\\\;semicolon;tag", "with;semicolon"),
        ("back\\slash", "backslash"),
        ("star*", "star"),
        ("stars**", "stars*"),
        ("*", "*"),
        (";tag", ""),
    ],
)
def test_tags_backslashes_and_a_final_star_are_removed_from_a_word(word, wanted):
    assert undecorated(word.encode()) == wanted.encode()


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        (WordRules(utf8=True), ["a-b", "été", "-"]),
        (WordRules(utf8=True, characters=True), ["a", "-", "b", "é", "t", "é", "-"]),
        (WordRules(utf8=True, characters=True, keep_ascii=True), ["a-b", "é", "t", "é", "-"]),
        (WordRules(utf8=True, characters=True, drop_hyphens=True), ["a", "b", "é", "t", "é", "-"]),
        (WordRules(utf8=True, characters=True, keep_ascii=True, drop_hyphens=True), ["ab", "é", "t", "é", "-"]),
    ],
)
def test_splitting_into_characters_follows_the_arguments_of_c(rules, wanted):
    assert [word.decode() for word in rules.split("a-b été -".encode())] == wanted


def test_without_utf8_a_character_is_a_byte():
    assert WordRules(characters=True).split("é".encode()) == [b"\xc3", b"\xa9"]


@pytest.mark.parametrize("text", ["a {b / c}", "a @", "x@y"])
def test_alternations_and_the_empty_word_are_not_plain(text):
    assert not WordRules().is_plain(text.encode())


def test_fragments_and_optional_words_are_plain_without_their_options():
    assert WordRules().is_plain(b"(a) b- -c")
    assert not WordRules(fragments=True).is_plain(b"b-")
    assert not WordRules(optional=True).is_plain(b"(a)")
