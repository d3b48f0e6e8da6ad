"""Whisper's log-mel features, without its padding to 30 s.

In: 16 kHz audio. Out: (frames, mel bins), 100 frames a second. The maximum that Whisper's scaling clamps to is
taken over the utterance, before it is cut into chunks.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from zipperasr.model.segments import SAMPLES_PER_MEL_FRAME, mel_frames

SAMPLE_RATE = 16_000
_WINDOW = 400


def log_mel(audio: Tensor, mel_bins: int) -> Tensor:
    """audio: (samples,) float in [-1, 1] at 16 kHz -> (frames, mel_bins), frames = samples // 160, at least 1.

    Equals transformers' WhisperFeatureExtractor on the same samples, except where its window reaches
    into the zeros that it appends. Audio shorter than one window is filled up with zeros.
    """
    num_frames = mel_frames(len(audio))
    audio = functional.pad(audio, (0, max(0, _WINDOW - len(audio))))
    window = torch.hann_window(_WINDOW, device=audio.device)
    spectrum = torch.stft(audio, _WINDOW, SAMPLES_PER_MEL_FRAME, window=window, center=True, return_complex=True)
    power = spectrum[:, :num_frames].abs().square()
    log_power = (_filters(mel_bins).to(audio.device).T @ power).clamp(min=1e-10).log10()
    log_power = torch.maximum(log_power, log_power.max() - 8.0)
    return ((log_power + 4.0) / 4.0).T.contiguous()


@functools.cache
def _filters(mel_bins: int) -> Tensor:
    """Slaney's mel filters: (201 frequency bins, mel_bins)."""
    bank = mel_filter_bank(
        num_frequency_bins=_WINDOW // 2 + 1,
        num_mel_filters=mel_bins,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(bank).float()
