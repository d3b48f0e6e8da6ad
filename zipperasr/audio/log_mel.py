"""Whisper's log-mel features, without its padding to 30 s.

In: 16 kHz audio. Out: (frames, mel bins), 100 frames per second. The maximum for Whisper's clamping is that of the
whole utterance, before it is cut into chunks.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

from zipperasr.audio.segments import SAMPLES_PER_MEL_FRAME, mel_frames

SAMPLE_RATE = 16_000
_WINDOW = 400
_NUM_BANDS = 4  # the fastest of 1 to 16 on a CPU


def log_mel(audio: Tensor, mel_bins: int, edge_frames: int = 0) -> Tensor:
    """Compute log-mel features: audio (samples,) in [-1, 1] at 16 kHz -> (samples // 160, mel_bins), at least 1 frame.

    Equals transformers' WhisperFeatureExtractor, except in the last frames, whose windows include the zeros that it
    appends. Audio shorter than one window is padded with zeros.

    Args:
        edge_frames: number of additional frames over zeros appended to the audio; then the last frames of the audio
            also equal those of WhisperFeatureExtractor.
    """
    num_frames = mel_frames(len(audio)) + edge_frames
    zeros = edge_frames * SAMPLES_PER_MEL_FRAME + _WINDOW if edge_frames else max(0, _WINDOW - len(audio))
    audio = functional.pad(audio, (0, zeros))
    window = torch.hann_window(_WINDOW, device=audio.device)
    spectrum = torch.stft(audio, _WINDOW, SAMPLES_PER_MEL_FRAME, window=window, center=True, return_complex=True)
    spectrum = spectrum.T[:num_frames]  # (frames, frequency bins), contiguous
    power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
    mel = audio.new_empty(num_frames, mel_bins)
    for mels, bins, filters in _bands(mel_bins, audio.device):
        mel[:, mels] = power[:, bins] @ filters
    log_power = mel.clamp_(min=1e-10).log10_()
    floor = log_power.max() - 8.0
    return log_power.clamp_(min=floor).add_(4.0).div_(4.0)


@functools.cache
def _bands(mel_bins: int, device: torch.device) -> tuple[tuple[slice, slice, Tensor], ...]:
    """Split the mel filters into bands and the frequency bins in which a band is not zero, as most of the bank is."""
    bank = _filters(mel_bins)
    bands = []
    for mels in torch.arange(mel_bins).tensor_split(_NUM_BANDS):
        mine = slice(int(mels[0]), int(mels[-1]) + 1)
        nonzero = bank[:, mine].any(1).nonzero()
        bins = slice(int(nonzero[0]), int(nonzero[-1]) + 1)
        bands.append((mine, bins, bank[bins, mine].contiguous().to(device)))
    return tuple(bands)


def _filters(mel_bins: int) -> Tensor:
    """Return Slaney's mel filters: (201 frequency bins, mel_bins)."""
    from transformers.audio_utils import mel_filter_bank

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
