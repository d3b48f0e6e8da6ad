"""Composed clips: recordings joined with silence, as stage 3 writes them in the manifests of training sets.

In: the `audio` of a manifest's row. Out: samples. A composed entry is a JSON list of entries of wav.scp and silences,
each `[samples, kind]`: `["a.ark:12",[8000,"background"],"a.ark:99",[16000,-52.5]]`. See `Silence` for the kinds.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zipperasr.audio.load import SAMPLE_RATE, load_audio
from zipperasr.audio.loudness import FRAME, loudness
from zipperasr.text_lines import is_composed

ZERO = "zero"  # digital silence
BACKGROUND = "background"  # noise with the spectrum of the quietest part of the recording before it, or else after it
QUIET_FRAMES = 10  # length of that part: 0.2 s
LONGEST_SILENCE = 60 * SAMPLE_RATE


class Silence(NamedTuple):
    """Silence in a clip."""

    num_samples: int
    kind: str | float  # ZERO, BACKGROUND, or the level of white noise in dB of full scale


def composed_entry(parts: Sequence[str | Silence]) -> str:
    """Write the entry of a clip: entries of wav.scp and silences in order."""
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))


def load_clip(entry: str) -> np.ndarray:
    """Load an entry of a manifest, composed or not, as `load_audio` does.

    Noise follows from the entry alone, so it is the same whenever the clip is read. Raises ValueError.
    """
    if not is_composed(entry):
        return load_audio(entry)
    parts = _parsed(entry)
    audio = [load_audio(part) if isinstance(part, str) else None for part in parts]
    rng = np.random.default_rng(zlib.crc32(entry.encode()))
    joined = []
    for place, part in enumerate(parts):
        heard = audio[place]
        if isinstance(part, Silence):
            near = [one for one in (*reversed(audio[:place]), *audio[place:]) if one is not None]
            heard = _silence(part, near[0], rng)
        joined.append(heard)
    return np.concatenate(joined)


def _parsed(entry: str) -> list[str | Silence]:
    try:
        parts = json.loads(entry)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{entry[:80]}: not a composed clip ({error}); rerun stage 3") from error
    parsed = [part if isinstance(part, str) else _parsed_silence(part, entry) for part in parts]
    if not any(isinstance(part, str) for part in parsed):
        raise ValueError(f"{entry[:80]}: no recording in the clip; rerun stage 3")
    return parsed


def _parsed_silence(part: object, entry: str) -> Silence:
    match part:
        case [int(num_samples), "zero" | "background" as kind] if 0 <= num_samples <= LONGEST_SILENCE:
            return Silence(num_samples, kind)
        case [int(num_samples), int(level) | float(level)] if 0 <= num_samples <= LONGEST_SILENCE and level <= 0:
            return Silence(num_samples, level)
    raise ValueError(
        f"{entry[:80]}: got {json.dumps(part)[:40]}, wanted [samples, {ZERO}, {BACKGROUND} or dB up to 0], "
        f"with at most {LONGEST_SILENCE:,} samples; rerun stage 3"
    )


def _silence(silence: Silence, near: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if silence.kind == ZERO:
        return np.zeros(silence.num_samples, dtype=np.float32)
    if silence.kind == BACKGROUND:
        return _like(_quietest(near), silence.num_samples, rng)
    return rng.normal(0.0, 10 ** (float(silence.kind) / 20), silence.num_samples).astype(np.float32)


def _quietest(samples: np.ndarray) -> np.ndarray:
    """The quietest 0.2 s; everything if the audio is shorter."""
    energy = loudness(samples[: len(samples) // FRAME * FRAME])
    if len(energy) <= QUIET_FRAMES:
        return samples
    start = int(np.convolve(energy, np.ones(QUIET_FRAMES), "valid").argmin())
    return samples[start * FRAME : (start + QUIET_FRAMES) * FRAME]


def _like(sample: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with the power spectrum of `sample`, interpolated, and random phases."""
    if not num_samples:
        return np.zeros(0, dtype=np.float32)
    power = np.square(np.abs(np.fft.rfft(sample))) / len(sample)
    places = np.fft.rfftfreq(num_samples)
    power = np.interp(places, np.fft.rfftfreq(len(sample)), power) * num_samples
    phases = np.exp(2j * np.pi * rng.random(len(places)))
    return np.fft.irfft(np.sqrt(power) * phases, num_samples).astype(np.float32)
