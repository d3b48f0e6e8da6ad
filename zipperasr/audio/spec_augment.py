"""SpecAugment (Park et al., 2019, arXiv 1904.08779) without time warping: masks on log-mel features.

In: the size of the features, a generator. Out: masks; features with the mean of the utterance in the masks. Masks are
drawn where the audio is read, and applied where the features are computed, which may be the GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Span = tuple[int, int]  # first index, one after the last


class Masks(NamedTuple):
    """What is masked in the features of one utterance."""

    bins: tuple[Span, ...] = ()
    frames: tuple[Span, ...] = ()


NO_MASKS = Masks()


class MaskSizes(NamedTuple):
    """Numbers of masks and their largest widths; the paper's symbols in brackets."""

    freq_masks: int  # [m_F]
    freq_width: int  # mel bins [F]
    time_masks: int  # [m_T]
    time_width: int  # frames [T]
    time_share: float  # a time mask covers at most this share of the frames [p]


def draw_masks(num_frames: int, mel_bins: int, sizes: MaskSizes, rng: np.random.Generator) -> Masks:
    """Draw masks for features (num_frames, mel_bins): widths from 0 to the largest, then places, both uniformly."""
    longest = min(sizes.time_width, int(sizes.time_share * num_frames))
    return Masks(
        tuple(_span(mel_bins, sizes.freq_width, rng) for _ in range(sizes.freq_masks)),
        tuple(_span(num_frames, longest, rng) for _ in range(sizes.time_masks)),
    )


def mask(mel: Tensor, masks: Masks) -> Tensor:
    """Set the masks of features (frames, mel bins) to their mean, in place; returns them."""
    if masks.bins or masks.frames:
        mean = mel.mean()  # stays on the device, so that the host does not wait for it
        for start, stop in masks.bins:
            mel[:, start:stop] = mean
        for start, stop in masks.frames:
            mel[start:stop] = mean
    return mel


def _span(length: int, widest: int, rng: np.random.Generator) -> Span:
    width = int(rng.integers(0, min(widest, length), endpoint=True))
    start = int(rng.integers(0, length - width, endpoint=True))
    return start, start + width
