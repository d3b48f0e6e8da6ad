"""Kaldi's filter banks equal those of transformers' SeamlessM4TFeatureExtractor."""

from __future__ import annotations

import pytest
import torch
from transformers import SeamlessM4TFeatureExtractor

from tests.model import tiny
from zipperasr.audio.frontend import KALDI, Frontend
from zipperasr.audio.segments import mel_frames


@pytest.mark.parametrize("num_samples", [1840, 5120, 16_000, 23_777, 33_333])
def test_frames_with_complete_windows_equal_the_reference(num_samples):
    audio = tiny.noise(num_samples, seed=num_samples)
    stacked = SeamlessM4TFeatureExtractor()(audio.numpy(), sampling_rate=16_000, return_tensors="pt")["input_features"]
    found = Frontend(80, KALDI)(audio)
    complete = (1 + (num_samples - 400) // 160) // 2 * 2  # in pairs
    wanted = stacked[0].reshape(-1, 80)[:complete]
    assert len(found) == mel_frames(num_samples) and complete >= 2
    torch.testing.assert_close(found[:complete], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_samples", [1, 160, 399, 400, 560, 1000, 1839, 1840])
def test_short_audio_has_finite_features(num_samples):
    found = Frontend(80, KALDI)(tiny.noise(num_samples, seed=1))
    assert found.shape == (mel_frames(num_samples), 80) and found.abs().max() < 30


def test_silence_has_finite_features():
    assert Frontend(80, KALDI)(torch.zeros(8000)).isfinite().all()
