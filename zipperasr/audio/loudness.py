"""Loudness of audio in frames of 20 ms, and what follows from it: where speech starts and ends, where it pauses.

In: 16 kHz samples. Out: energies, spans in samples. Arithmetic only; no model is used.
"""

from __future__ import annotations

import numpy as np

from zipperasr.audio.load import SAMPLE_RATE

FRAME = SAMPLE_RATE // 50  # samples of 20 ms
TINY = 1e-12  # energy of digital silence: -120 dB of full scale
BELOW_SPEECH_DB = 30.0  # silence is this much quieter than speech
ABOVE_NOISE = 0.25  # or louder than the background noise by less than this share of its distance to speech
MARGIN_S = 0.1  # kept on both sides of speech: fricatives and stops at its edges are quiet


def loudness(samples: np.ndarray) -> np.ndarray:
    """Mean square of each frame of 20 ms; the last may be shorter. (frames,)"""
    full = len(samples) // FRAME * FRAME
    energy = np.square(samples[:full], dtype=np.float64).reshape(-1, FRAME).mean(1)
    rest = samples[full:]
    return np.append(energy, np.square(rest, dtype=np.float64).mean()) if len(rest) else energy


def decibels(energy: np.ndarray) -> np.ndarray:
    """Energies in dB of full scale, at least -120."""
    return 10 * np.log10(energy + TINY)


def silent_frames(samples: np.ndarray) -> np.ndarray:
    """Return for each frame whether it has no speech. (frames,) of bool; all are silent if nothing is louder."""
    level = decibels(loudness(samples))
    return level <= silence_limit(level)


def silence_limit(level: np.ndarray) -> float:
    """Return the level in dB up to which frames (frames,) of these levels count as silent."""
    noise, speech = np.percentile(level, (5, 99)) if len(level) else (0.0, 0.0)
    return max(speech - BELOW_SPEECH_DB, noise + ABOVE_NOISE * (speech - noise))


def speech_span(samples: np.ndarray) -> slice:
    """Return the part without the silence before and after the speech, with a margin; everything if all is silent."""
    loud = np.flatnonzero(~silent_frames(samples))
    if not len(loud):
        return slice(0, len(samples))
    margin = int(MARGIN_S * SAMPLE_RATE)
    return slice(max(0, int(loud[0]) * FRAME - margin), min(len(samples), (int(loud[-1]) + 1) * FRAME + margin))
