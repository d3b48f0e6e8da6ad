from __future__ import annotations

import pytest

from tests.score.example import SENTENCES
from zipperasr.score.diagnose import Diagnosis, scripts_of, surest_language
from zipperasr.score.sclite.align import align

CODES = sorted(SENTENCES)


def flags(code: str, reference: str, hypothesis: str) -> list[str]:
    ref, hyp = reference.split(), hypothesis.split()
    return Diagnosis(code, CODES).flags(ref, hyp, align(ref, hyp), (reference, hypothesis))


def test_a_loop_is_four_repetitions_and_more_than_in_the_reference():
    assert flags("en", "the cat sat on", "the cat sat sat sat") == []
    assert flags("en", "the cat sat", "the cat sat the cat sat the cat sat the cat sat") == ["loop", "burst"]
    assert flags("en", "no no no no more", "no no no no more") == []
    assert flags("en", "no no no no more", "no no no no no more") == ["loop"]


def test_a_burst_is_five_insertions_in_a_row():
    assert flags("en", "the cat", "the very big old ugly cat") == []
    assert flags("en", "the cat", "the very very big old ugly cat") == ["burst"]


def test_empty_is_flagged_only_with_a_non_empty_reference():
    assert flags("de", "guten Tag", "") == ["empty"]
    assert flags("de", "", "") == []


@pytest.mark.parametrize(
    ("code", "reference", "hypothesis"),
    [
        ("ru", "добрый день", "dobryy den"),
        ("de", "Die Straße ist lang", "добрый день"),
        ("th", "สวัสดีครับ", "你好世界"),
        ("ja", "今日は三月三日です", "오늘은 월요일"),
        ("ko", "오늘은 월요일", "今日は三月三日です"),
        ("ar", "ثلاثة أيام", "three days"),
    ],
)
def test_a_hypothesis_in_another_script_is_flagged(code, reference, hypothesis):
    assert "script" in flags(code, reference, hypothesis)
    assert "script" not in flags(code, reference, reference)


def test_a_hypothesis_in_the_script_of_its_reference_is_not_flagged():
    assert flags("ja", "OK Google", "OK Googol") == []


@pytest.mark.parametrize(
    ("code", "reference", "hypothesis"),
    [
        ("de", "Die Straße ist lang und breit", "the street is long and wide"),
        ("es", "¿Dónde está el niño?", "où est le petit garçon maintenant"),
        ("pt", "A ação de hoje", "la acción de hoy por la mañana"),
        ("ja", "今日は三月三日です", "你好世界今天天气很好"),
    ],
)
def test_another_language_in_the_same_script_is_flagged(code, reference, hypothesis):
    assert flags(code, reference, hypothesis) == ["language"]


def test_correct_output_and_small_errors_are_not_another_language():
    for code, pairs in SENTENCES.items():
        for reference, hypothesis in pairs:
            assert not {"script", "language"} & set(flags(code, reference, hypothesis)), (code, hypothesis)


def test_a_word_too_short_for_language_detection_is_not_flagged():
    assert flags("es", "Sí", "si") == []
    assert surest_language("si", ("es", "it")) is None


def test_scripts_come_from_cldr_and_an_unknown_language_has_no_verdict():
    assert scripts_of("ja") == {"Hani", "Hira", "Kana"}
    assert scripts_of("sw") == {"Latn"}
    assert scripts_of("xx-unknown") == frozenset()
    assert flags("xx-unknown", "abc", "привет") == []


def test_a_chat_reply_is_flagged_unless_it_is_in_the_reference():
    assert flags("en", "turn left here", "Sure! Here is the transcription: turn left") == ["burst", "chat"]
    assert flags("en", "Sure, turn left", "Sure, turn left here") == []
