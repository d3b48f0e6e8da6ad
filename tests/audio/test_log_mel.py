"""Log-mel features compared with transformers' WhisperFeatureExtractor."""

from __future__ import annotations

import pytest
import torch
from transformers import WhisperFeatureExtractor

from tests.model.tiny import noise
from zipperasr.audio.load import load_audio
from zipperasr.audio.log_mel import log_mel
from zipperasr.audio.segments import mel_frames

MEL_BINS = pytest.mark.parametrize("mel_bins", [80, 128])


def by_transformers(audio: torch.Tensor, mel_bins: int, **settings) -> torch.Tensor:
    """(frames, mel_bins)."""
    extractor = WhisperFeatureExtractor(feature_size=mel_bins)
    features = extractor(audio.numpy(), sampling_rate=16_000, return_tensors="pt", **settings).input_features
    return features[0].T


@MEL_BINS
def test_features_of_30_s_equal_whispers(mel_bins):
    audio = noise(480_000, seed=1)
    torch.testing.assert_close(log_mel(audio, mel_bins), by_transformers(audio, mel_bins), rtol=0, atol=1e-4)


@MEL_BINS
@pytest.mark.parametrize("num_samples", [16_000, 12_345, 400])
def test_features_of_an_unpadded_utterance_equal_whispers(mel_bins, num_samples):
    audio = noise(num_samples, seed=2)
    expected = by_transformers(audio, mel_bins, padding="do_not_pad")
    torch.testing.assert_close(log_mel(audio, mel_bins), expected, rtol=0, atol=1e-4)


def test_padding_to_30_s_changes_only_frames_whose_window_overlaps_it():
    """The window is 400 samples, the hop 160: the windows of the last two frames overlap what follows the utterance."""
    audio = noise(16_000, seed=3).flip(0)  # loudest at the start, so that both have the same maximum
    padded = by_transformers(audio, 80)
    assert len(padded) == 3000
    torch.testing.assert_close(log_mel(audio, 80)[:98], padded[:98], rtol=0, atol=1e-4)


@pytest.mark.parametrize("num_samples", [1, 2, 100, 159, 160, 201, 319, 320, 399, 400, 401])
def test_very_short_audio_has_the_right_number_of_frames(num_samples):
    features = log_mel(noise(num_samples, seed=4), 80)
    assert features.shape == (mel_frames(num_samples), 80) == (max(1, num_samples // 160), 80)
    assert features.isfinite().all()


def test_silence_is_finite():
    assert log_mel(torch.zeros(8000), 80).isfinite().all()


def test_the_maximum_is_taken_over_the_utterance_not_per_chunk():
    """A quiet second next to a loud one is clamped by the maximum of the loud one."""
    quiet, loud = noise(16_000, 5) * 1e-3, noise(16_000, 6)
    together, alone = log_mel(torch.cat([quiet, loud]), 80), log_mel(quiet, 80)
    assert together.max() - together.min() <= 2.0 + 1e-5
    assert (together[:98] - alone[:98]).abs().max() > 0.3


def test_features_of_real_speech_equal_whispers(shared_dir):
    path = sorted((shared_dir / "fixtures" / "real_speech").rglob("*.flac"))[0]
    audio = torch.from_numpy(load_audio(path))[:480_000]
    expected = by_transformers(audio, 80, padding="do_not_pad")
    torch.testing.assert_close(log_mel(audio, 80), expected, rtol=0, atol=1e-4)
