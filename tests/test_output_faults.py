from __future__ import annotations

import pytest

from tests.score.example import SENTENCES
from zipperasr.output_faults import compression_ratio, cut_loop, is_chat_like, longest_loop


@pytest.mark.parametrize(
    ("units", "loop", "cut"),
    [
        ("", (0, 0, 0), ""),
        ("a", (0, 1, 1), "a"),
        ("a b c", (0, 1, 1), "a"),
        ("x a a y", (1, 1, 2), "x a"),
        ("a b a b a b", (0, 2, 3), "a b"),
        ("x a b c a b c y", (1, 3, 2), "x a b c"),
        ("a a b a a b a a b", (0, 3, 3), "a a b"),
    ],
)
def test_the_longest_loop_is_found_and_removed(units, loop, cut):
    found = longest_loop(units.split())
    assert found == loop
    assert cut_loop(units.split(), found) == cut.split()


def test_repetitive_text_has_a_high_compression_ratio():
    assert compression_ratio("die katze sitzt auf der matte und schläft") < 1.5
    assert compression_ratio("kommt aus " * 20) > 2.4
    assert compression_ratio("") == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "Sure! Here is the transcription of the audio:",
        "I'm sorry, but I cannot transcribe audio files.",
        "As an AI language model, I have no ears.",
        "<think>\nThe user wants",
        "Hier ist die Transkription: guten Tag",
        "以下是音频的转写",
        "申し訳ありませんが、音声を",
    ],
)
def test_replies_are_found(text):
    assert is_chat_like(text)


def test_speech_is_not_a_reply():
    texts = [text for pairs in SENTENCES.values() for pair in pairs for text in pair]
    texts += ["sure enough he came", "I'm sorry I'm late", "of course not", "the speaker was loud", ""]
    assert not [text for text in texts if is_chat_like(text)]
