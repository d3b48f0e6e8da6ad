"""Acoustics of the mini corpora: each corpus has a recording channel, each language an accent.

In: clean synthetic speech, conf/mini/mini_corpora.yaml. Out: the speech of that corpus and language. A channel is
common to all languages of a corpus and an accent to all corpora of a language, so that an adapted encoder has something
to share and something to keep apart. Pretraining's speech has neither.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import numpy as np
import soxr
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from local.mini.espeak import SAMPLE_RATE_HZ, Voice

_BAND_ORDER = 4  # of the slope at each edge of the band
_RESONANCE_OCTAVES = 0.4  # half width of a resonance, at 1/e of its gain
_REVERB_FLOOR_DB = -60.0  # the level that a reverberation time refers to
_DIRECT_TO_REVERB_DB = 3.0


@dataclass(frozen=True)
class Channel:
    """How a corpus is recorded; ranges are drawn from by speaker."""

    band_hz: tuple[float, float] = (0.0, 8000.0)  # edges of the band-pass filter
    tilt_db: tuple[float, float] = (0.0, 0.0)  # slope of the spectrum, per octave above 1 kHz
    reverb_s: tuple[float, float] = (0.0, 0.0)  # time in which reverberation falls by 60 dB
    noise_db: tuple[float, float] = (-80.0, -80.0)  # white noise before the filter, relative to full scale


@dataclass(frozen=True)
class Accent:
    """How the speakers of a language differ from espeak-ng's voice for it."""

    formants: float = 1.0  # factor of all frequencies; above 1 as by a shorter vocal tract. Durations stay
    resonance_hz: float = 0.0  # centre of a resonance ...
    resonance_db: float = 0.0  # ... and its gain; negative attenuates


@dataclass(frozen=True)
class Acoustics:
    """The acoustics of conf/mini/mini_corpora.yaml. Corpora and languages without an entry are clean."""

    channels: dict[str, Channel] = field(default_factory=dict)  # by corpus
    accents: dict[str, Accent] = field(default_factory=dict)  # by language code

    def of(self, corpus: str, language: str) -> tuple[Channel, Accent]:
        return self.channels.get(corpus, Channel()), self.accents.get(language, Accent())


@dataclass(frozen=True)
class SpeakerAcoustics:
    """What one speaker's speech goes through."""

    accent: Accent
    band_hz: tuple[float, float]
    tilt_db: float
    room: np.ndarray  # impulse response
    noise_db: float
    noise: np.random.Generator

    def voice(self, voice: Voice) -> Voice:
        """The voice to synthesise with: slower by what `formants` speeds up, and without noise of its own."""
        return replace(voice, rate_wpm=round(voice.rate_wpm / self.accent.formants), noise_db=None)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Apply accent and channel to int16 samples (num_samples,) at 16 kHz; the length changes with the formants."""
        signal = samples.astype(np.float32) / 32768.0
        peak = np.abs(signal).max()
        if self.accent.formants != 1.0:
            signal = soxr.resample(signal, SAMPLE_RATE_HZ * self.accent.formants, SAMPLE_RATE_HZ, quality="MQ")
        signal = signal + self.noise.standard_normal(len(signal), dtype=np.float32) * 10 ** (self.noise_db / 20)
        size = next_fast_len(len(signal) + len(self.room), real=True)
        spectrum = rfft(signal, size) * rfft(self.room, size) * self._gains(size)
        heard = irfft(spectrum, size)[: len(signal)]
        heard *= peak / max(np.abs(heard).max(), 1e-6)  # as loud as before
        return (heard * 32767.0).astype(np.int16)

    def _gains(self, size: int) -> np.ndarray:
        """Amplitudes of band-pass, tilt and resonance at the frequencies of a spectrum of `size` samples."""
        hz = np.maximum(rfftfreq(size, 1 / SAMPLE_RATE_HZ), 1.0).astype(np.float32)
        low_hz, high_hz = self.band_hz
        gains_db = self.tilt_db * np.maximum(np.log2(hz / 1000), 0)
        if self.accent.resonance_db:
            octaves = np.log2(hz / self.accent.resonance_hz)
            gains_db += self.accent.resonance_db * np.exp(-((octaves / _RESONANCE_OCTAVES) ** 2))
        power = 1 + (low_hz / hz) ** (2 * _BAND_ORDER) + (hz / high_hz) ** (2 * _BAND_ORDER)  # Butterworth edges
        return 10 ** (gains_db / 20) / np.sqrt(power)


def draw_acoustics(channel: Channel, accent: Accent, rng: random.Random) -> SpeakerAcoustics:
    """Draw what one speaker's speech goes through; the same for all sentences of the speaker."""
    reverb_s = rng.uniform(*channel.reverb_s)
    seed = rng.getrandbits(32)
    return SpeakerAcoustics(
        accent=accent,
        band_hz=channel.band_hz,
        tilt_db=rng.uniform(*channel.tilt_db),
        room=_room(reverb_s, np.random.default_rng(seed)),
        noise_db=rng.uniform(*channel.noise_db),
        noise=np.random.default_rng(seed + 1),
    )


def _room(reverb_s: float, rng: np.random.Generator) -> np.ndarray:
    """An impulse response: the direct sound, then noise that decays exponentially (Polack's model)."""
    times = np.arange(1, max(1, round(reverb_s * SAMPLE_RATE_HZ))) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(len(times)) * 10 ** (_REVERB_FLOOR_DB / 20 * times / max(reverb_s, 1e-6))
    tail *= 10 ** (-_DIRECT_TO_REVERB_DB / 20) / max(np.linalg.norm(tail), 1e-6)
    return np.append(1.0, tail).astype(np.float32)
