"""Lengths of utterances, of their segments (whole, 30 s windows, or chunks), and of their speech in the LLM.

In: samples or mel frames of an utterance. Out: mel frames of its segments, LLM positions. Arithmetic only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Count = TypeVar("Count", int, np.ndarray)

REGIMES = ("chunked", "full")  # context of the encoder: a chunk, or the whole utterance
MEL_FRAMES_PER_S = 100
SAMPLES_PER_MEL_FRAME = 160
PROJECTOR_STRIDE = 4  # encoder frames per LLM position
EDGE_FRAMES = 3  # mel frames after the end of an utterance whose 25 ms windows still overlap its audio


def mel_frames(num_samples: Count) -> Count:
    """Return the number of log-mel frames of 16 kHz audio, at least one."""
    frames = num_samples // SAMPLES_PER_MEL_FRAME
    return frames + (frames < 1)


def segment_frames(segment_s: float) -> int:
    """Return the mel frames of a chunk. Raises ValueError unless their number is positive and even.

    Odd chunks would produce more encoder frames than the whole utterance.
    """
    frames = round(segment_s * MEL_FRAMES_PER_S)
    if frames < 2 or frames % 2:
        raise ValueError(f"chunk of {segment_s} s: wanted a positive multiple of {2 / MEL_FRAMES_PER_S} s")
    return frames


def cut(length: int, longest: int) -> list[int]:
    """Cut into consecutive segments of at most `longest` mel frames, without overlap."""
    full, rest = divmod(length, longest)
    return [longest] * full + ([rest] if rest else [])


def cut_all(lengths: Sequence[int], longest: int) -> tuple[list[int], list[int]]:
    """Return the segments of all utterances in order, and the number of segments of each utterance."""
    per_utterance = [cut(length, longest) for length in lengths]
    return [segment for segments in per_utterance for segment in segments], [len(s) for s in per_utterance]


def num_positions(num_samples: Count) -> Count:
    """Return the LLM positions of an utterance's speech: 12.5 per second, rounded up, for any segments."""
    encoder_frames = (mel_frames(num_samples) + 1) // 2
    return -(-encoder_frames // PROJECTOR_STRIDE)
