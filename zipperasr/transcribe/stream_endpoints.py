"""Divide a stream into segments as it arrives: from the first voice to a pause, or to the longest segment.

In: blocks of `HOP` samples. Out: a piece whenever a segment ends. Only the open segment is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.loudness import FRAME
from zipperasr.transcribe.pauses import Piece, best_cut, earliest_cut_s

HOP = math.lcm(FRAME, 512)  # samples: eight frames of 20 ms, and five windows of silero-vad
BEFORE, AFTER = 25, 10  # frames kept before and after the voice; silero-vad may find it late
PAUSE = 25  # frames without voice that end a segment
LEAST_VOICE = 10  # frames; a segment with fewer is not transcribed

Frames = Callable[[np.ndarray], np.ndarray]  # HOP samples of a stream -> for each frame whether somebody speaks


class Endpoints:
    """The open segment of a stream.

    Args:
        longest_s: a segment without a pause is cut before this length, as `cut_at_pauses` does.
        voiced: the detector of this stream.
        by_hand: only `finish` and the longest length end segments; they begin with the first sample.
    """

    def __init__(self, longest_s: float, voiced: Frames, by_hand: bool = False):
        self._longest = int(longest_s * SAMPLE_RATE)
        self._earliest = int(earliest_cut_s(longest_s) * SAMPLE_RATE)
        self._voiced, self._by_hand = voiced, by_hand
        self._start = 0  # of `samples` in the stream
        self._frames = np.zeros(0, dtype=bool)  # whether each frame of `samples` is voiced
        self.samples = np.zeros(0, dtype=np.float32)  # of the open segment, or the margin before the next one

    @property
    def start_s(self) -> float:
        return self._start / SAMPLE_RATE

    @property
    def is_open(self) -> bool:
        """Whether somebody has spoken since the last segment."""
        return bool(len(self._frames) if self._by_hand else self._frames.any())

    @property
    def num_voiced(self) -> int:
        """Frames of `samples` in which somebody speaks."""
        return int(self._frames.sum())

    def add(self, hop: np.ndarray) -> Piece | None:
        """Append (HOP,) samples. Returns the segment that ends with them."""
        frames = np.concatenate([self._frames, self._voiced(hop)])
        self.samples, self._frames = np.concatenate([self.samples, hop]), frames
        if not self.is_open:
            self._drop(max(0, len(self._frames) - BEFORE))
            return None
        if self._trailing() >= PAUSE and not self._by_hand:
            return self._close(len(self._frames) - self._trailing() + AFTER)
        if len(self.samples) >= self._longest:
            return self._close(best_cut(self.samples[: self._longest], self._earliest) // FRAME)
        return None

    def finish(self, rest: np.ndarray) -> Piece | None:
        """End the open segment with fewer than HOP samples and return it. What is added later begins after them."""
        self.samples = np.concatenate([self.samples, rest])
        piece = None
        if self.is_open:
            silent = 0 if self._by_hand else max(0, self._trailing() - AFTER)
            piece = self._close(-(-len(self.samples) // FRAME) - silent)
        self._start += len(self.samples)
        self.samples, self._frames = self.samples[:0], self._frames[:0]
        return piece

    def _trailing(self) -> int:
        """Number of frames without voice at the end."""
        return int(self._frames[::-1].argmax())

    def _close(self, frames: int) -> Piece:
        num_voiced = int(self._frames[:frames].sum())
        reason = "" if num_voiced >= LEAST_VOICE else f"less than {LEAST_VOICE * FRAME / SAMPLE_RATE} s of voice"
        piece = Piece(self.start_s, self.samples[: frames * FRAME], reason)
        self._drop(frames)
        return piece

    def _drop(self, frames: int) -> None:
        self._start += min(frames * FRAME, len(self.samples))
        self.samples, self._frames = self.samples[frames * FRAME :].copy(), self._frames[frames:]
