from __future__ import annotations

from zipperasr.align.spelling import characters


def test_characters_are_letters_marks_and_digits_in_lower_case():
    assert list(characters("L'École, 2")) == list("lécole2")
    assert list(characters("ＡＢ12")) == list("ab12")
    assert list(characters("ที่")) == ["ท", "ี", "่"]
    assert list(characters("--")) == []


def test_korean_syllables_are_divided_into_letters():
    assert list(characters("일。")) == ["\u110b", "\u1175", "\u11af"]
