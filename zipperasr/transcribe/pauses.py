"""Cut a recording of any length into segments at its pauses.

Takes blocks of 16 kHz audio and yields pieces of at most 30 s, or less, with their start times; silent pieces are
marked. A piece ends in a pause if there is one, else at the quietest point, by the energy of 20 ms frames; a voice
detector can add pauses. Models of short utterances get pieces that follow the pauses even where a longer piece would be
allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.loudness import FRAME, decibels, loudness, silent_frames

LONGEST_S = 30.0
LEAST_LONGEST_S = 1.0  # a recording is not cut into smaller pieces, however short the training utterances were
EARLIEST_S = 15.0  # earliest point of a cut if there is a choice; half of the longest piece if that is earlier
SHORT_S = 15.0  # below this longest piece, a model has learned single utterances: pieces follow the pauses
SHORTEST_UTTERANCE = 0.25  # of the longest piece: its earliest cut
PAUSE = 12  # frames from which silence counts as a pause: more than a stop consonant's
LONG_PAUSE = 15  # frames from which a pause is probably one between utterances
WINDOW = 10  # frames whose loudness determines the cut where there is no pause
SILENT_DB = -60.0  # of full scale; below it, a piece counts as silent
SHORTEST_S = 0.1  # a shorter piece contains no speech

Voiced = Callable[[np.ndarray], np.ndarray]  # samples -> for each frame of 20 ms whether somebody speaks


@dataclass(frozen=True)
class Piece:
    """A part of a recording that is transcribed as one utterance."""

    start_s: float
    samples: np.ndarray  # (num_samples,) float32, 16 kHz
    reason: str = ""  # why it is not transcribed; empty if it is

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.samples) / SAMPLE_RATE


def cut_at_pauses(
    blocks: Iterable[np.ndarray], longest_s: float = LONGEST_S, voiced: Voiced | None = None
) -> Iterator[Piece]:
    """Yield consecutive pieces that cover the recording; at most one piece and one block are in memory.

    voiced: a voice detector; None: silence alone makes a pause.
    """
    follows_pauses = longest_s < SHORT_S
    longest, earliest = int(longest_s * SAMPLE_RATE), int(earliest_cut_s(longest_s) * SAMPLE_RATE)
    held, start = np.zeros(0, dtype=np.float32), 0
    for block in blocks:
        held = block if not len(held) else np.concatenate([held, block])
        while len(held) > longest:
            size = best_cut(held[:longest], earliest, voiced)
            yield _piece(start, held[:size])
            start, held = start + size, held[size:]
    while follows_pauses and (size := _cut_between_utterances(held, earliest, voiced)):
        yield _piece(start, held[:size])
        start, held = start + size, held[size:]
    if len(held) or not start:
        yield _piece(start, held)


def earliest_cut_s(longest_s: float) -> float:
    """Return the earliest point of a cut in a piece of this length."""
    return longest_s * SHORTEST_UTTERANCE if longest_s < SHORT_S else min(EARLIEST_S, longest_s / 2)


def best_cut(samples: np.ndarray, earliest: int, voiced: Voiced | None = None) -> int:
    """Sample to cut at: in the first long pause after `earliest`, or the longest; else in the last pause before it.

    Without any pause, where it is quietest.
    """
    pauses = find_pauses(samples, voiced)
    late = [pause for pause in pauses if _center(pause) >= earliest]
    if late:
        enough = min(LONG_PAUSE, max(len(pause) for pause in late))
        return next(_center(pause) for pause in late if len(pause) >= enough)
    return _center(pauses[-1]) if pauses else earliest + _quietest(samples[earliest:])


def _cut_between_utterances(samples: np.ndarray, shortest: int, voiced: Voiced | None) -> int:
    """Sample of the first long pause with at least `shortest` samples on both sides; 0 if there is none."""
    long = (_center(pause) for pause in find_pauses(samples, voiced) if len(pause) >= LONG_PAUSE)
    return next((cut for cut in long if shortest <= cut <= len(samples) - shortest), 0)


def find_pauses(samples: np.ndarray, voiced: Voiced | None = None) -> list[range]:
    """Frames of each pause, in order: at least 0.24 s without speech. There are none where nothing is said."""
    silent = silent_frames(samples)
    if voiced is not None:
        silent |= ~voiced(samples)
    if silent.all():
        return []
    edges = np.flatnonzero(np.diff(silent, prepend=False, append=False))
    return [range(first, last) for first, last in edges.reshape(-1, 2).tolist() if last - first >= PAUSE]


def _center(pause: range) -> int:
    return (pause.start + pause.stop) // 2 * FRAME


def _quietest(samples: np.ndarray) -> int:
    """Center of the last of the quietest windows, in samples."""
    energy = loudness(samples)
    if len(energy) <= WINDOW:
        return len(samples)
    windows = np.convolve(energy, np.ones(WINDOW) / WINDOW, "valid")
    quiet = np.flatnonzero(windows <= windows.min() * 1.5 + 1e-12)
    return (int(quiet[-1]) + WINDOW // 2) * FRAME


def _piece(start: int, samples: np.ndarray) -> Piece:
    reason = ""
    if len(samples) < SHORTEST_S * SAMPLE_RATE:
        reason = f"shorter than {SHORTEST_S} s"
    elif decibels(loudness(samples).max()) < SILENT_DB:
        reason = f"silence: nothing above {SILENT_DB:.0f} dB of full scale"
    return Piece(start / SAMPLE_RATE, samples, reason)
