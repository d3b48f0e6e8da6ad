"""Generated recordings to transcribe."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from local.mini.espeak import Espeak, Voice

RATE = 16_000


def noise(seconds: float, seed: int = 1, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, int(seconds * RATE)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), dtype=np.float32)


def tones(seconds: float) -> np.ndarray:
    """A chord that fades in and out twice per second."""
    time = np.arange(int(seconds * RATE)) / RATE
    chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220.0, 277.2, 329.6))
    return (0.1 * chord * (1 + np.sin(4 * np.pi * time))).astype(np.float32)


def with_pauses(speech_s: Sequence[float], pause_s: float = 0.4) -> np.ndarray:
    """Bursts of noise separated by pauses."""
    parts = [part for number, length in enumerate(speech_s) for part in (noise(length, number), silence(pause_s))]
    return np.concatenate(parts)


@cache
def speech(language: str = "de", words: str = "eins zwei drei vier fünf sechs") -> np.ndarray:
    """Synthetic speech, about 2 s."""
    return (Espeak().say(words, language, Voice(variant="m3")) / 32768).astype(np.float32)
