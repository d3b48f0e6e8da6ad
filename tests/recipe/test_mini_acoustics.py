"""Channels and accents of the mini corpora: the effect of each parameter; each speaker has one of each."""

from __future__ import annotations

import random

import numpy as np
import pytest

from local.mini.acoustics import Accent, Channel, SpeakerAcoustics, draw_acoustics
from local.mini.espeak import SAMPLE_RATE_HZ, Espeak, Voice
from local.mini.layouts import LAYOUTS
from local.mini.plan import load_plan
from zipperasr.languages import LanguageTable

SECONDS = 2
TIMES = np.arange(SECONDS * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ


def applied(channel: Channel, accent: Accent, samples: np.ndarray, seed: int = 1) -> np.ndarray:
    return draw_acoustics(channel, accent, random.Random(seed))(samples)


def tone(hz: float) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * hz * TIMES)).astype(np.int16)


def level_db(samples: np.ndarray, hz: float) -> float:
    """Level of one frequency, in dB."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    place = round(hz * len(samples) / SAMPLE_RATE_HZ)
    return 20 * np.log10(spectrum[place - 3 : place + 4].max())


def change_db(channel: Channel, accent: Accent, hz: float, at: float = 1000.0) -> float:
    """Gain at `hz`, relative to the gain `at` another frequency; a chord keeps the loudness equal."""
    before = tone(hz) // 2 + tone(at) // 2
    after = applied(channel, accent, before)
    return level_db(after, hz) - level_db(before, hz) - (level_db(after, at) - level_db(before, at))


def test_every_corpus_has_its_own_channel_and_every_language_its_own_accent(recipe):
    sizes, _, _ = load_plan(recipe / "conf/mini/mini_corpora.yaml", recipe / "conf/datasets.tsv",
                            recipe / "conf/languages.tsv")  # fmt: skip
    assert sizes.acoustics.channels.keys() == LAYOUTS.keys()
    assert sizes.acoustics.accents.keys() == set(LanguageTable.load(recipe / "conf/languages.tsv").codes)
    for drawn in (sizes.acoustics.channels, sizes.acoustics.accents):
        assert len(set(drawn.values())) == len(drawn)


def test_an_unknown_corpus_or_language_leaves_speech_unchanged():
    spoken = Espeak().say("one two three", "en", Voice())
    after = applied(Channel(), Accent(), spoken)
    assert len(after) == len(spoken)
    assert np.abs(after.astype(int) - spoken).max() < 0.02 * np.abs(spoken.astype(int)).max()


@pytest.mark.parametrize("formants", [0.8, 1.25])
def test_formants_are_scaled_by_their_factor_and_durations_are_kept(formants: float):
    accent = Accent(formants=formants)
    assert level_db(applied(Channel(), accent, tone(1000)), 1000 * formants) == pytest.approx(
        level_db(tone(1000), 1000) - 20 * np.log10(formants), abs=1
    )
    sound = draw_acoustics(Channel(), accent, random.Random(1))
    lengths = [len(applied(Channel(), accent, Espeak().say("Anna lives in Paris.", "en", sound.voice(Voice())))),
               len(Espeak().say("Anna lives in Paris.", "en", Voice()))]  # fmt: skip
    assert lengths[0] == pytest.approx(lengths[1], rel=0.15)


@pytest.mark.parametrize("gain_db", [-10, 8])
def test_a_resonance_has_its_gain_at_the_centre_frequency(gain_db: float):
    accent = Accent(resonance_hz=2500, resonance_db=gain_db)
    assert change_db(Channel(), accent, 2500) == pytest.approx(gain_db, abs=0.5)
    assert change_db(Channel(), accent, 500) == pytest.approx(0, abs=0.5)


def test_a_channel_keeps_its_band_and_tilts_the_spectrum():
    channel = Channel(band_hz=(300.0, 4000.0))
    assert change_db(channel, Accent(), 2000) == pytest.approx(0, abs=0.5)
    assert change_db(channel, Accent(), 75) < -40 and change_db(channel, Accent(), 7900) < -20
    assert change_db(Channel(tilt_db=(-3.0, -3.0)), Accent(), 4000) == pytest.approx(-6, abs=0.5)


def test_reverberation_decays_by_60_db_in_the_given_time():
    click = np.zeros(len(TIMES), dtype=np.int16)
    click[1000:1200] = 20_000
    after = applied(Channel(reverb_s=(0.5, 0.5)), Accent(), click).astype(float)

    def level(start_s: float) -> float:
        first = 1200 + round(start_s * SAMPLE_RATE_HZ)
        return 10 * np.log10(np.square(after[first : first + 800]).mean() + 1e-9)

    assert level(0.1) - level(0.3) == pytest.approx(0.2 / 0.5 * 60, abs=4)
    assert np.abs(applied(Channel(), Accent(), click)[2000:]).max() < 20  # noise of -80 dB


def test_noise_has_the_given_level():
    quiet = np.zeros(len(TIMES), dtype=np.int16)
    quiet[0] = 32_000  # keeps the loudness
    after = applied(Channel(noise_db=(-40.0, -40.0)), Accent(), quiet)[1000:]
    assert 20 * np.log10(after.std() / 32768) == pytest.approx(-40, abs=1)


def test_a_channel_is_fixed_per_speaker_and_differs_between_speakers():
    channel = Channel(tilt_db=(-4.0, 4.0), reverb_s=(0.1, 0.5), noise_db=(-60.0, -30.0))

    def drawn(seed: int) -> SpeakerAcoustics:
        return draw_acoustics(channel, Accent(), random.Random(seed))

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert (first.tilt_db, first.noise_db) == (again.tilt_db, again.noise_db) != (other.tilt_db, other.noise_db)
    assert np.array_equal(first.room, again.room) and len(first.room) != len(other.room)
    assert np.array_equal(first(tone(500)), again(tone(500)))
