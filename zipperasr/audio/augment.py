"""Augment the audio of training utterances: speed, reverberation, noise, telephone band.

In: 16 kHz samples, parameters, a generator where something is random. Out: samples, float32. Only `change_speed`
changes their number.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile
import soxr

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.loudness import FRAME, silent_frames

TELEPHONE_RATE = 8_000
G711 = {"samplerate": TELEPHONE_RATE, "format": "RAW", "subtype": "ULAW"}


def changed_length(num_samples: int | np.ndarray, speed: float | np.ndarray) -> np.ndarray:
    """Return the number of samples at another speed, rounded; at least one. Packing and `change_speed` agree on it."""
    return np.maximum(1, np.floor(num_samples / speed + 0.5)).astype(np.int64)


def change_speed(samples: np.ndarray, speed: float) -> np.ndarray:
    """Play `speed` times as fast, which changes the pitch as well (Ko et al., 2015): (n,) -> (about n / speed,)."""
    if speed == 1:
        return samples
    return _fitted(soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE), int(changed_length(len(samples), speed)))


def room_response(rt60_s: float, direct_db: float, rng: np.random.Generator) -> np.ndarray:
    """Make a room impulse response: the direct sound, then noise that decays exponentially (Polack's model).

    Args:
        rt60_s: time in which the reverberation decays by 60 dB; the response ends there.
        direct_db: energy of the direct sound over that of the reverberation.
    """
    num_samples = max(2, int(rt60_s * SAMPLE_RATE))
    decay = 10 ** (-3 * np.arange(num_samples) / num_samples)
    response = rng.standard_normal(num_samples, dtype=np.float32) * decay
    response[0] = 0
    response *= np.sqrt(10 ** (-direct_db / 10) / np.square(response).sum())
    response[0] = 1
    return response.astype(np.float32)


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve with a room impulse response, whose peak is taken as the direct sound. Power and length stay."""
    from scipy.signal import fftconvolve

    direct = int(np.abs(response).argmax())
    heard = fftconvolve(samples, response)[direct : direct + len(samples)]
    power = _power(heard)
    return (heard * np.sqrt(_power(samples) / power)).astype(np.float32) if power else samples


def noise(kind: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Draw white noise, or pink noise, whose power density is inversely proportional to the frequency."""
    from scipy import fft

    if kind == "white":
        return rng.standard_normal(num_samples, dtype=np.float32)
    size = fft.next_fast_len(max(2, num_samples), real=True)  # a prime length would take ten times as long
    spectrum = fft.rfft(rng.standard_normal(size, dtype=np.float32))
    spectrum[0] = 0
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum), dtype=np.float32))
    return fft.irfft(spectrum, size)[:num_samples]


def add_noise(samples: np.ndarray, added: np.ndarray, snr_db: float) -> np.ndarray:
    """Add noise (n,) to samples (n,) so that the speech is `snr_db` louder. Silence stays as it is.

    The power of the speech is that of the frames that `silent_frames` does not count as silent: pauses and silence
    around an utterance would lower the mean.
    """
    speech, power = speech_power(samples), _power(added)
    if not speech or not power:
        return samples
    return (samples + added * np.sqrt(speech / power * 10 ** (-snr_db / 10))).astype(np.float32)


def speech_power(samples: np.ndarray) -> float:
    """Return the mean square of the frames with speech; of all, if none has any."""
    spoken = np.repeat(~silent_frames(samples), FRAME)[: len(samples)]
    return _power(samples[spoken] if spoken.any() else samples)


def telephone(samples: np.ndarray) -> np.ndarray:
    """Pass through a telephone: 8 kHz sampling, which removes what is above 4 kHz, and G.711's 8-bit mu-law."""
    narrow = np.clip(soxr.resample(samples, SAMPLE_RATE, TELEPHONE_RATE), -1, 1)
    coded = io.BytesIO()
    soundfile.write(coded, narrow, **G711)
    coded.seek(0)
    decoded, _ = soundfile.read(coded, dtype="float32", channels=1, **G711)
    return _fitted(soxr.resample(decoded, TELEPHONE_RATE, SAMPLE_RATE), len(samples))


def _power(samples: np.ndarray) -> float:
    return float(np.square(samples, dtype=np.float64).mean()) if len(samples) else 0.0


def _fitted(samples: np.ndarray, num_samples: int) -> np.ndarray:
    """Cut, or append zeros: a resampler may round its length in another way."""
    missing = num_samples - len(samples)
    return np.pad(samples, (0, missing)) if missing > 0 else samples[:num_samples]
