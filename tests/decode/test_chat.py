from __future__ import annotations

import pytest

from tests.score.example import SENTENCES
from zipperasr.decode.chat import is_chat_like


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


def test_speech_is_none():
    texts = [text for pairs in SENTENCES.values() for pair in pairs for text in pair]
    texts += ["sure enough he came", "I'm sorry I'm late", "of course not", "the speaker was loud", ""]
    assert not [text for text in texts if is_chat_like(text)]
