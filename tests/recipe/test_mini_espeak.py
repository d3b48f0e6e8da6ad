"""Speech of the mini corpora: every language has a voice, words sound different, splits share no voices."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from local.mini.espeak import SAMPLE_RATE_HZ, VARIANTS, VOICE_NAMES, Espeak, Voice, draw_voice
from local.mini.texts import make_sentences
from local.mini.texts.grammar import load

FASTEST_WPM = 220
CHUNK_S = 2.0  # the longest decoding chunk of the mini task
HOMOPHONES = {"en": {("to", "two")}, "fr": {("a", "à"), ("ans", "en")}}  # genuine homophones


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


@pytest.mark.parametrize("language", VOICE_NAMES)
def test_most_sentences_are_longer_than_a_chunk_and_few_longer_than_six_seconds(espeak, language):
    sentences = make_sentences(language, 40, 0, "recipe")
    fast = [len(espeak.say(s.spoken, language, Voice("m1", FASTEST_WPM))) / SAMPLE_RATE_HZ for s in sentences]
    slow = [len(espeak.say(s.spoken, language, Voice("m1", 165))) / SAMPLE_RATE_HZ for s in sentences]
    assert np.mean(np.array(fast) > CHUNK_S) >= 0.85
    assert np.mean(np.array(slow) > 6.0) <= 0.05


@pytest.mark.parametrize("language", sorted(set(VOICE_NAMES) - {"zh", "ja", "th"}))
def test_different_words_have_different_phonemes(espeak, language):
    sentences = make_sentences(language, 400, 0, "pretrain") + make_sentences(language, 400, 0, "recipe")
    words = {word for s in sentences for word in re.sub("[.,?¿؟]", " ", s.spoken.lower()).split()}
    assert len(words) > 100
    assert same_sound(espeak, language, {word: word for word in words}) <= HOMOPHONES.get(language, set())


@pytest.mark.parametrize("language", ["ja", "th"])
def test_different_words_of_the_pronunciation_table_have_different_phonemes(espeak, language):
    spoken = {word: kana for word, kana in load(language).spoken.items() if word not in "。、"}
    if language == "th":
        spoken = {word: f"[[{phonemes}]]" for word, phonemes in spoken.items()}
    assert len(spoken) > 100
    assert not same_sound(espeak, language, spoken)


def same_sound(espeak: Espeak, language: str, spoken: dict[str, str]) -> set[tuple[str, ...]]:
    """Groups of words that espeak-ng pronounces alike, ignoring stress."""
    sounds: dict[str, list[str]] = {}
    for word, text in sorted(spoken.items()):
        phonemes = espeak.phonemes(text, language)
        assert "(" not in phonemes, f"{word!r} is read in another language: {phonemes}"
        sounds.setdefault(re.sub("[',]", "", phonemes), []).append(word)
    return {tuple(words) for words in sounds.values() if len(words) > 1}


@pytest.mark.parametrize(
    ("language", "spoken", "names"),
    [
        ("en", "two cheap, dogs.", ["t", "u:", "tS", "i:", "p", "d", "0", "g", "z"]),
        ("th", "[[s'a:1m s'i:2]]", ["s", "a:1", "m", "s", "i:2"]),
        ("zh", "两张票", ["l", "iA214", "N", "ts.", "A55", "N", "ph", "j", "Au51"]),
    ],
)
def test_phoneme_names_include_tones_but_not_stress_and_pauses(espeak, language, spoken, names):
    assert espeak.phoneme_names(spoken, language) == names


@pytest.mark.parametrize(
    ("language", "spoken", "phonemes"),
    [
        ("en", "two cheap, dogs.", ["t", "uː", "tʃ", "iː", "p", "d", "ɑː", "ɡ", "z"]),
        ("zh", "两张票", ["l", "iɑ2", "ŋ", "ts.", "ɑ5", "ŋ", "ph", "j", "ɑu5"]),
    ],
)
def test_ipa_has_one_string_per_phoneme_without_stress_and_pauses(espeak, language, spoken, phonemes):
    assert espeak.ipa(spoken, language) == phonemes


def test_phonemes_do_not_use_the_callback_of_a_deleted_object():
    """The library keeps a raw pointer to the last callback; without a new one it would call whatever is there now."""
    code = """
import ctypes, gc
from local.mini import espeak
first = espeak.Espeak()
first.say("one", "en", espeak.Voice())
del first
gc.collect()
heard = []
traps = [espeak._SYNTH_CALLBACK(lambda *_: heard.append(1) or 0) for _ in range(8)]
print(espeak.Espeak().ipa("two", "en"), len(heard))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=with_recipe_on_path())
    assert done.stdout == "['t', 'uː'] 0\n", done.stderr


def with_recipe_on_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONUTF8": "1"}


def test_phoneme_input_is_spoken_literally(espeak):
    assert espeak.phonemes("[[s'a:1m s'i:2]]", "th") == "s'a:1m s'i:2"
    assert espeak.phonemes("two", "en") == "t'u:"  # the next text is read as text again


def test_audio_is_16_khz_int16_with_the_given_gain_noise_and_rate(espeak):
    voice = Voice("m1", 180)
    plain = espeak.say("Maria lives in Paris.", "en", voice)
    assert plain.dtype == np.int16 and plain.ndim == 1
    assert 1.0 < len(plain) / SAMPLE_RATE_HZ < 2.2
    quiet = espeak.say("Maria lives in Paris.", "en", replace(voice, gain=0.25))
    assert np.abs(quiet).max() == pytest.approx(np.abs(plain).max() / 4, rel=0.2)
    noisy = espeak.say("Maria lives in Paris.", "en", replace(voice, noise_db=-30.0))
    assert np.median(np.abs(noisy)) > np.median(np.abs(plain))
    fast = espeak.say("Maria lives in Paris.", "en", replace(voice, rate_wpm=220))
    assert len(fast) < 0.9 * len(plain)


def test_the_same_calls_in_a_new_process_give_the_same_samples(recipe):
    program = (
        "import hashlib; from local.mini.espeak import Espeak, Voice; speaker = Espeak();"
        "audio = [speaker.say('Anna, Peter.', 'en', Voice(v, noise_db=-40.0)) for v in ('m1', 'f2', 'm1')];"
        "print([hashlib.sha256(a.tobytes()).hexdigest() for a in audio])"
    )
    runs = [subprocess.check_output([sys.executable, "-c", program], cwd=recipe) for _ in range(2)]
    assert runs[0] == runs[1]


def test_every_variant_exists_and_the_splits_share_none(espeak):
    for variants in VARIANTS.values():
        for variant in variants:
            assert espeak.say("one", "en", Voice(variant)).any()
    named = [variant for variants in VARIANTS.values() for variant in variants]
    assert len(named) == len(set(named))


def test_sampled_voices_depend_on_the_seed_and_belong_to_their_split():
    for split, variants in VARIANTS.items():
        voices = [draw_voice(random.Random(seed), split) for seed in range(50)]
        assert voices == [draw_voice(random.Random(seed), split) for seed in range(50)]
        assert {voice.variant for voice in voices} <= set(variants)
        assert all(150 <= voice.rate_wpm <= 220 and 30 <= voice.pitch <= 70 for voice in voices)


def test_invalid_language_variant_split_and_text_are_errors(espeak):
    with pytest.raises(ValueError, match=r"no espeak-ng voice for language 'xx'; .*add it to VOICE_NAMES"):
        espeak.say("hello", "xx", Voice())
    with pytest.raises(ValueError, match="espeak-ng has no variant 'm99'; choose from"):
        espeak.say("hello", "en", Voice("m99"))
    with pytest.raises(ValueError, match="unknown voice split 'dev'; choose from pretrain, train, test"):
        draw_voice(random.Random(0), "dev")
    with pytest.raises(ValueError, match="espeak-ng produced no sound for '' in 'en'"):
        espeak.say("", "en", Voice())


def test_a_voice_that_the_library_rejects_is_an_error(espeak, monkeypatch):
    monkeypatch.setitem(VOICE_NAMES, "fr", "fr-fr")
    with pytest.raises(ValueError, match=r"espeak-ng rejected the voice 'fr-fr\+m1'"):
        espeak.say("bonjour", "fr", Voice("m1"))
