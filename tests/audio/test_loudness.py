"""Where speech starts and ends."""

from __future__ import annotations

import numpy as np
import pytest

from tests.transcribe.sound import RATE, noise, silence
from zipperasr.audio.loudness import decibels, loudness, speech_span


def test_loudness_is_the_mean_square_of_20_ms():
    samples = np.concatenate([np.full(320, 0.5), np.full(160, 1.0)]).astype(np.float32)
    assert loudness(samples).tolist() == [0.25, 1.0]
    assert decibels(np.array([1.0, 0.1, 0.0])).tolist() == pytest.approx([0, -10, -120], abs=1e-6)


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_silence_before_and_after_is_outside_with_a_margin_of_100_ms(level):
    quiet = silence(1.0) if not level else noise(1.0, 2, level)
    samples = np.concatenate([quiet, noise(2.0), quiet[:8000]])
    span = speech_span(samples)
    assert span == slice(int(0.9 * RATE), int(3.1 * RATE))


def test_silence_between_words_stays():
    samples = np.concatenate([noise(0.5), silence(2.0), noise(0.5)])
    assert speech_span(samples) == slice(0, len(samples))


@pytest.mark.parametrize("level", [1e-3, 5e-3, 2e-2])
def test_background_noise_is_silence_too(level):
    samples = noise(4.0, 2, level)
    samples[RATE : 2 * RATE] += noise(1.0)
    span = speech_span(samples)
    assert (span.start / RATE, span.stop / RATE) == (pytest.approx(0.9, abs=0.03), pytest.approx(2.1, abs=0.03))


@pytest.mark.parametrize("samples", [silence(1.0), silence(0.0), noise(0.01), noise(1.0)])
def test_without_silence_at_the_edges_everything_stays(samples):
    assert speech_span(samples) == slice(0, len(samples))
