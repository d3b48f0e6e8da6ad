"""Augmented audio: speed, reverberation, noise at a level, telephone band; each against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import welch

from tests.transcribe.sound import RATE, silence
from zipperasr.audio.augment import (
    add_noise,
    change_speed,
    changed_length,
    noise,
    reverberate,
    room_response,
    speech_power,
    telephone,
)
from zipperasr.batching.augment_config import NOISES

SPEEDS = (0.5, 0.9, 0.95, 1.0, 1.05, 1.1, 2.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tone(hz: float, seconds: float = 1.0, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def white(num_samples: int = RATE, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return level * noise("white", num_samples, rng(seed))


def power(samples: np.ndarray) -> float:
    return float(np.square(samples.astype(np.float64)).mean())


def power_in(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Energy of a band, from the discrete Fourier transform of everything."""
    spectrum = np.square(np.abs(np.fft.rfft(samples.astype(np.float64))))
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    return float(spectrum[(hz >= low_hz) & (hz < high_hz)].sum()) / len(samples) ** 2


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_length_at_a_speed_is_the_one_that_packing_counts(speed):
    for num_samples in (1, 2, 7, 159, 160, 16_000, 16_001, 123_457):
        changed = change_speed(white(num_samples), speed)
        assert len(changed) == int(changed_length(num_samples, speed)) == max(1, int(num_samples / speed + 0.5))
        assert changed.dtype == np.float32


def test_lengths_of_arrays_equal_those_of_numbers():
    lengths = np.arange(1, 5000)
    speeds = np.resize(SPEEDS, len(lengths))
    wanted = [int(changed_length(int(length), float(speed))) for length, speed in zip(lengths, speeds, strict=True)]
    assert changed_length(lengths, speeds).tolist() == wanted


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_the_speed_multiplies_frequencies(speed):
    changed = change_speed(tone(1000, 2.0), speed)
    spectrum = np.abs(np.fft.rfft(changed * np.hanning(len(changed))))
    assert spectrum.argmax() * RATE / len(changed) == pytest.approx(1000 * speed, abs=1)
    assert power(changed) == pytest.approx(power(tone(1000)), rel=0.02)


def test_speed_one_changes_nothing():
    samples = white()
    assert change_speed(samples, 1.0) is samples


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 7.5, 30.0])
@pytest.mark.parametrize("kind", NOISES)
def test_the_ratio_of_speech_to_noise_is_the_one_asked_for(kind, snr_db):
    speech, added = white(seed=1), noise(kind, RATE, rng(2))
    mixed = add_noise(speech, added, snr_db)
    assert mixed.dtype == np.float32 and len(mixed) == len(speech)
    assert 10 * np.log10(speech_power(speech) / power(mixed - speech)) == pytest.approx(snr_db, abs=0.01)


def test_pauses_do_not_lower_the_power_of_the_speech():
    speech = white(seed=1)
    padded = np.concatenate([silence(3.0), speech, silence(2.0)]).astype(np.float32)
    assert speech_power(padded) == pytest.approx(power(speech), rel=0.05)
    difference = add_noise(padded, noise("white", len(padded), rng(2)), 10.0) - padded
    assert 10 * np.log10(power(speech) / power(difference)) == pytest.approx(10, abs=0.2)


def test_neither_silence_nor_a_silent_noise_gives_noise():
    samples = white()
    assert add_noise(samples, silence(1.0), 10.0) is samples
    assert not add_noise(silence(1.0), samples, 10.0).any()


@pytest.mark.parametrize(("kind", "slope"), [("white", 0.0), ("pink", -10.0)])
def test_the_spectrum_of_noise_falls_by_ten_decibels_per_decade_if_pink(kind, slope):
    hz, density = welch(noise(kind, 60 * RATE, rng()), RATE, nperseg=4096)
    used = (hz > 50) & (hz < 5000)
    measured = np.polyfit(np.log10(hz[used]), 10 * np.log10(density[used]), 1)[0]
    assert measured == pytest.approx(slope, abs=0.3)


@pytest.mark.parametrize("rt60_s", [0.2, 0.8])
def test_a_generated_response_decays_by_60_decibels_in_its_reverberation_time(rt60_s):
    tail = room_response(rt60_s, 5.0, rng())[1:].astype(np.float64)
    remaining = 10 * np.log10(np.cumsum(np.square(tail)[::-1])[::-1])  # Schroeder's backward integration
    first, last = (int(np.argmax(remaining <= remaining[0] - fall)) for fall in (5, 25))
    assert 3 * (last - first) / RATE == pytest.approx(rt60_s, rel=0.08)


@pytest.mark.parametrize("direct_db", [0.0, 10.0])
def test_a_generated_response_has_the_ratio_of_direct_sound_asked_for(direct_db):
    response = room_response(0.3, direct_db, rng())
    assert response[0] == response.max() == 1
    assert 10 * np.log10(1 / np.square(response[1:].astype(np.float64)).sum()) == pytest.approx(direct_db, abs=1e-3)


def test_reverberation_is_the_convolution_from_the_direct_sound_on_with_the_same_power():
    samples, response = white(3000), np.concatenate([np.zeros(40), room_response(0.1, 3.0, rng(1))]).astype(np.float32)
    wanted = np.convolve(samples.astype(np.float64), response)[40 : 40 + len(samples)]
    heard = reverberate(samples, response)
    assert len(heard) == len(samples) and heard.dtype == np.float32
    assert power(heard) == pytest.approx(power(samples), rel=1e-5)
    np.testing.assert_allclose(heard / np.abs(heard).max(), wanted / np.abs(wanted).max(), atol=1e-5)


def test_a_response_leaves_silence_silent_and_a_lone_impulse_changes_nothing():
    assert not reverberate(silence(0.1), room_response(0.1, 3.0, rng())).any()
    samples = white(2000)
    np.testing.assert_allclose(reverberate(samples, np.array([0, 1, 0], np.float32)), samples, atol=1e-6)


@pytest.mark.parametrize("num_samples", [1, 2, 159, 16_000, 16_001])
def test_a_telephone_keeps_the_length(num_samples):
    heard = telephone(white(num_samples))
    assert len(heard) == num_samples and heard.dtype == np.float32


def test_a_telephone_removes_what_is_above_4_khz_and_little_below():
    samples = white(4 * RATE)
    heard = telephone(samples)
    assert power_in(heard, 4050, 8000) < 1e-4 * power_in(samples, 4050, 8000)
    assert power_in(heard, 100, 3500) == pytest.approx(power_in(samples, 100, 3500), rel=0.02)


def mu_law(samples: np.ndarray) -> np.ndarray:
    """G.711's mu-law, from its definition: sign, three bits of exponent, four bits of mantissa, of 14-bit samples."""
    value = np.minimum(np.abs(np.rint(samples.astype(np.float64) * 8192)), 8158) + 33
    exponent = np.floor(np.log2(value)).astype(int) - 5
    step = 2.0 ** (exponent + 1)
    mantissa = np.floor((value - 2.0 ** (exponent + 5)) / step)
    return np.sign(samples) * (2.0 ** (exponent + 5) + (mantissa + 0.5) * step - 33) / 8192


@pytest.mark.parametrize("level", [0.005, 0.1, 0.9])
def test_a_telephone_quantises_as_mu_law_does(level):
    """A tone below 4 kHz passes the resamplers, so that the error is that of the quantiser."""
    samples = tone(1000, 4.0, level)
    middle = slice(RATE, 3 * RATE)
    wanted = power(mu_law(samples[::2])[RATE // 2 : 3 * RATE // 2] - samples[::2][RATE // 2 : 3 * RATE // 2])
    assert power(telephone(samples)[middle] - samples[middle]) == pytest.approx(wanted, rel=0.2)
    assert wanted > 1e-9


def test_a_telephone_clips_samples_beyond_full_scale():
    heard = telephone(3 * tone(1000, 0.5, 0.9))
    assert np.isfinite(heard).all() and np.abs(heard).max() < 1.6
