"""Cut a recording of any length into segments at its pauses.

Takes blocks of 16 kHz audio and yields pieces of at most 30 s with their start times; silent pieces are marked. A piece
ends at the quietest point, by the energy of 20 ms frames; no model is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from zipperasr.audio.load import SAMPLE_RATE

FRAME = SAMPLE_RATE // 50  # samples of 20 ms
LONGEST_S = 30.0
SHORTEST_CUT_S = 15.0  # earliest point of a cut, unless the recording ends
PAUSE = 10  # frames in the window whose loudness determines the cut
SILENT_DB = -60.0  # of full scale; below it, a piece counts as silent
SHORTEST_S = 0.1  # a shorter piece contains no speech


@dataclass(frozen=True)
class Piece:
    """A part of a recording that is transcribed as one utterance."""

    start_s: float
    samples: np.ndarray  # (num_samples,) float32, 16 kHz
    reason: str = ""  # why it is not transcribed; empty if it is

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.samples) / SAMPLE_RATE


def cut_at_pauses(blocks: Iterable[np.ndarray], longest_s: float = LONGEST_S) -> Iterator[Piece]:
    """Yield consecutive pieces that cover the recording; at most one piece and one block are in memory."""
    longest, earliest = int(longest_s * SAMPLE_RATE), int(min(SHORTEST_CUT_S, longest_s / 2) * SAMPLE_RATE)
    held, start = np.zeros(0, dtype=np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > longest:
            size = earliest + _quietest(held[earliest:longest])
            yield _piece(start, held[:size])
            start, held = start + size, held[size:]
    if len(held) or not start:
        yield _piece(start, held)


def _quietest(samples: np.ndarray) -> int:
    """Center of the last of the quietest windows, in samples."""
    energy = loudness(samples)
    if len(energy) <= PAUSE:
        return len(samples)
    windows = np.convolve(energy, np.ones(PAUSE) / PAUSE, "valid")
    quiet = np.flatnonzero(windows <= windows.min() * 1.5 + 1e-12)
    return (int(quiet[-1]) + PAUSE // 2) * FRAME


def _piece(start: int, samples: np.ndarray) -> Piece:
    reason = ""
    if len(samples) < SHORTEST_S * SAMPLE_RATE:
        reason = f"shorter than {SHORTEST_S} s"
    elif 10 * np.log10(loudness(samples).max() + 1e-12) < SILENT_DB:
        reason = f"silence: nothing above {SILENT_DB:.0f} dB of full scale"
    return Piece(start / SAMPLE_RATE, samples, reason)


def loudness(samples: np.ndarray) -> np.ndarray:
    """Mean square of each frame of 20 ms; the last may be shorter. (frames,)"""
    full = len(samples) // FRAME * FRAME
    energy = np.square(samples[:full], dtype=np.float64).reshape(-1, FRAME).mean(1)
    rest = samples[full:]
    return np.append(energy, np.square(rest, dtype=np.float64).mean()) if len(rest) else energy
