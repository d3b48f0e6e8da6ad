"""The times of espeak-ng's words belong to the words as written, and events change no sample."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from local.mini.texts import Sentence, make_sentences
from local.mini.word_events import written_places

LANGUAGES = ("ar", "de", "ja", "ko", "th", "zh")
SPEAK = """
import sys, zlib
from local.mini.espeak import Espeak, Voice
from local.mini.word_events import TimedEspeak
speaker = {"plain": Espeak, "timed": TimedEspeak}[sys.argv[1]]()
for language, text in (("de", "guten tag, maria"), ("zh", "从北京")):
    checksum = zlib.crc32(speaker.say(text, language, Voice("m3")).tobytes())
    print(checksum, *[place for place, _ in getattr(speaker, "starts", ())])
"""


def spoken_by(kind: str, recipe) -> list[list[str]]:
    command = [sys.executable, "-c", SPEAK, kind]
    done = subprocess.run(command, cwd=recipe, env={"PYTHONPATH": f"{recipe}:{recipe.parents[2]}"}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return [line.split() for line in done.stdout.decode().splitlines()]


def test_events_leave_the_samples_as_they_are(recipe):
    plain, timed = (spoken_by(kind, recipe) for kind in ("plain", "timed"))
    assert [line[0] for line in plain] == [line[0] for line in timed]
    assert [line[1:] for line in timed] == [["0", "6", "11"], ["0", "1", "2"]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_spoken_token_has_a_place_in_the_written_sentence(language):
    for sentence in make_sentences(language, 40, 3, "recipe"):
        places = written_places(sentence, language)
        assert list(places.values()) == sorted(set(places.values()))
        assert min(places.values()) == 0 and max(places.values()) < len(sentence.written)
        if sentence.spoken == sentence.written:
            assert all(spoken == written for spoken, written in places.items())
        else:
            assert len(places) == len(sentence.spoken.strip("[]").split())


def test_a_thai_token_is_found_by_its_phonemes():
    sentence = Sentence("ไปจาก ลุง", "[[p'ai3 ch'a:2k l'u3N]]")
    assert written_places(sentence, "th") == {2: 0, 8: 2, 16: 6}
    assert np.diff(list(written_places(sentence, "th"))).min() > 0


def test_other_speech_is_an_error():
    with pytest.raises(ValueError, match="cannot be split into what is spoken"):
        written_places(Sentence("ไป", "[[l'u3N]]"), "th")
