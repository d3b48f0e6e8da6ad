"""Log filter banks as of Kaldi, normalised for each utterance: the features of w2v-BERT 2.0.

In: 16 kHz audio. Out: (frames, bins), 100 frames per second.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

from zipperasr.audio.segments import SAMPLES_PER_MEL_FRAME, mel_frames

_WINDOW, _FFT = 400, 512
_PREEMPHASIS = 0.97
_FULL_SCALE = 1 << 15  # Kaldi reads 16-bit integers
_ENOUGH = 10  # frames for a variance by which others are divided
_FLOOR = 1.192092955078125e-07  # of the power


def kaldi_fbank(audio: Tensor, bins: int) -> Tensor:
    """Compute log filter banks: audio (samples,) in [-1, 1] at 16 kHz -> (samples // 160, bins), at least 1 frame.

    Each bin has mean 0 and variance 1 over the frames whose windows are complete, or over all if those are few. The
    complete ones equal the frames of transformers' SeamlessM4TFeatureExtractor before it stacks them, unless they are
    few; up to two more frames follow, over appended zeros.
    """
    num_frames = mel_frames(len(audio))
    padded = functional.pad(audio, (0, max(0, (num_frames - 1) * SAMPLES_PER_MEL_FRAME + _WINDOW - len(audio))))
    windows = padded.unfold(0, _WINDOW, SAMPLES_PER_MEL_FRAME)[:num_frames].double() * _FULL_SCALE
    windows = windows - windows.mean(1, keepdim=True)
    before = torch.cat([windows[:, :1], windows[:, :-1]], 1)
    spectrum = torch.fft.rfft((windows - _PREEMPHASIS * before) * _povey(audio.device), _FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    log_power = (power @ _filters(bins).to(power)).clamp(min=_FLOOR).log()
    num_complete = 1 + (len(audio) - _WINDOW) // SAMPLES_PER_MEL_FRAME
    complete = log_power[:num_complete] if num_complete >= _ENOUGH else log_power
    variance = complete.var(0) if len(complete) > 1 else torch.zeros_like(complete[0])
    return ((log_power - complete.mean(0)) / (variance + 1e-7).sqrt()).to(audio.dtype)


def _povey(device: torch.device) -> Tensor:
    """Kaldi's window: a symmetric Hann window to the power of 0.85."""
    return torch.hann_window(_WINDOW, periodic=False, dtype=torch.float64, device=device).pow(0.85)


@functools.cache
def _filters(bins: int) -> Tensor:
    """Kaldi's triangular mel filters from 20 Hz: (257 frequency bins, bins)."""
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(
        num_frequency_bins=_FFT // 2 + 1,
        num_mel_filters=bins,
        min_frequency=20,
        max_frequency=8000,
        sampling_rate=16_000,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    return torch.from_numpy(bank)
