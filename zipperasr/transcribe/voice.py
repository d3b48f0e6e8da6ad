"""Find where somebody speaks, and reduce the pieces of a recording to it.

In: 16 kHz samples. Out: for each frame of 20 ms whether it is voiced; pieces without noise, music and hum. The detector
is silero-vad; without one, only the energy rule of `pauses` applies, which takes everything but silence for speech.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.loudness import FRAME, decibels, loudness, silence_limit
from zipperasr.cli import nearest
from zipperasr.transcribe.pauses import SILENT_DB, Piece, Voiced

if TYPE_CHECKING:
    from zipperasr.transcribe.voice_silero import Silero

ENERGY, SILERO = "energy", "silero"
DETECTORS = (ENERGY, SILERO)
GAP_S = 2.0  # a longer stretch without voice is left out; a detector may miss the first half second of a voice
MARGIN_S = 0.5  # of it that is kept on both sides
STEADY_DB = 6.0  # in streams, a frame is silent if it exceeds the background by less
REMEMBERED = 1500  # frames (30 s) from which a stream's background and speech levels are estimated
SHORTEST_VOICE_S = 0.2  # a shorter stretch is not speech


def load_detector(name: str) -> Silero | None:
    """Load a detector of `DETECTORS`; None for `energy`. Raises ValueError if it is unknown or not installed."""
    if name == ENERGY:
        return None
    if name != SILERO:
        raise ValueError(f"unknown voice detector {name!r}; {nearest(name, DETECTORS)}")
    from zipperasr.transcribe.voice_silero import load_silero

    return load_silero()


class EnergyStream:
    """The energy rule for one stream: relative to the loudest and quietest frames of the last 30 s."""

    def __init__(self) -> None:
        self._levels = np.zeros(0)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """samples: whole frames of 20 ms. Returns for each whether it is voiced."""
        level = decibels(loudness(samples))
        self._levels = np.concatenate([self._levels, level])[-REMEMBERED:]
        steady = np.percentile(self._levels, 5) + STEADY_DB
        return level > max(SILENT_DB, steady, silence_limit(self._levels))


def stream_detector(detector: Silero | None, by_hand: bool) -> Callable[[np.ndarray], np.ndarray]:
    """The detector for one stream, see `Endpoints`. by_hand: everything but silence may be speech."""
    if detector is not None:
        return detector.stream()
    return _not_silent if by_hand else EnergyStream()


def _not_silent(samples: np.ndarray) -> np.ndarray:
    return decibels(loudness(samples)) > SILENT_DB


def keep_voiced(piece: Piece, voiced: Voiced) -> list[Piece]:
    """Reduce a piece to its voiced stretches; one without any keeps its samples and gets a reason."""
    if piece.reason:
        return [piece]
    spans = voiced_spans(voiced(piece.samples), len(piece.samples))
    if not spans:
        return [replace(piece, reason="no voice")]
    return [Piece(piece.start_s + span.start / SAMPLE_RATE, piece.samples[span]) for span in spans]


def voiced_spans(frames: np.ndarray, num_samples: int) -> list[slice]:
    """Return the samples between gaps without voice of more than `GAP_S`, with margins, in order.

    frames: (frames,) of bool.
    """
    gap, margin = int(GAP_S * SAMPLE_RATE), int(MARGIN_S * SAMPLE_RATE)
    edges = np.flatnonzero(np.diff(frames, prepend=False, append=False)).reshape(-1, 2) * FRAME
    voiced = [(start, end) for start, end in edges.tolist() if end - start >= SHORTEST_VOICE_S * SAMPLE_RATE]
    spans: list[slice] = []
    for start, end in voiced:
        if spans and start - spans[-1].stop <= gap:
            spans[-1] = slice(spans[-1].start, end)
        else:
            spans.append(slice(start, end))
    if spans and spans[0].start <= gap:
        spans[0] = slice(0, spans[0].stop)
    if spans and num_samples - spans[-1].stop <= gap:
        spans[-1] = slice(spans[-1].start, num_samples)
    return [slice(max(0, span.start - margin), min(num_samples, span.stop + margin)) for span in spans]
