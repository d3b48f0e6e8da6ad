"""Load audio as 16 kHz mono float32.

In: an entry of wav.scp (`dump/raw/x/data/format.1.ark:1234` or a path), or an open file with start and end. Out:
samples. Supports all formats of libsndfile, without espnet.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from zipperasr.audio.ark import audio_bytes, split_entry
from zipperasr.corpora.audio_tables import embedded_audio, is_table
from zipperasr.text_lines import refuse_composed, refuse_pipe

SAMPLE_RATE = 16_000
LOWEST_RATE, HIGHEST_RATE, MAX_CHANNELS = 1_000, 384_000, 64
RAW = ".raw"  # samples without a header
LOUDEST = 1e10  # times full scale; floats at the scale of integers are within 2^31, and from 1e18 powers overflow
BLOCK_VALUES = 960_000  # frames times channels decoded per call: 10 s of 48 kHz stereo


class OutOfBounds(ValueError):
    """A sampling rate or number of channels that is unknown or not supported, or samples that cannot be used."""


def load_audio(entry: str | Path) -> np.ndarray:
    """Load a wav.scp entry or an audio file as samples (num_samples,), float32 in [-1, 1], mono, 16 kHz.

    Raises ValueError if the file cannot be decoded or has no samples, for a composed clip (clips.py), and OutOfBounds
    as `check_samples` does.
    """
    try:
        with open_entry(refuse_composed(refuse_pipe(str(entry), "wav.scp"), "wav.scp")) as recording:
            samples, rate = _read(recording), recording.samplerate
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{entry}: cannot be decoded ({error.error_string}); rerun stage 2") from error
    if not len(samples):
        raise ValueError(f"{entry}: no samples; rerun stage 2")
    return check_samples(to_16k_mono(samples, rate), str(entry))


def check_samples(samples: np.ndarray, name: str) -> np.ndarray:
    """Return (num_samples,) unchanged. Raises OutOfBounds with the reason of `sample_fault`."""
    if fault := sample_fault(samples):
        raise OutOfBounds(f"{name}: {fault}; check how it was written")
    return samples


def sample_fault(samples: np.ndarray) -> str:
    """Return why (num_samples,) cannot be used, or an empty string. Features of larger samples would be NaN."""
    if not len(samples) or (samples.min() >= -LOUDEST and samples.max() <= LOUDEST):
        return ""
    if not np.isfinite(samples).all():
        return "samples that are not a number"
    return f"a sample of {np.abs(samples).max():.2g} times full scale, at most {LOUDEST:.0e} are read"


def open_entry(entry: str) -> soundfile.SoundFile:
    """Open an audio file, or that at an offset of an ark or in a row of a table.

    Raises the errors of `open_audio`, `audio_bytes` and `embedded_audio`.
    """
    path, offset = split_entry(entry)
    if offset is None:
        return open_audio(path, entry)
    if is_table(path):
        return open_audio(embedded_audio(path, offset, entry), entry)
    with open(path, "rb") as stream:
        return open_audio(io.BytesIO(audio_bytes(stream, offset, entry)), entry)


def open_audio(
    source: str | Path | BinaryIO, name: str, highest_rate: int = HIGHEST_RATE, max_channels: int = MAX_CHANNELS
) -> soundfile.SoundFile:
    """Open `source` and check its header. Raises OutOfBounds, soundfile.LibsndfileError."""
    if isinstance(source, str | Path) and Path(source).suffix.lower() == RAW:
        remedy = "convert it: sox -t raw -r RATE -e signed -b 16 -c CHANNELS in.raw out.wav"
        raise OutOfBounds(f"{name}: raw samples without a header, so rate and channels are unknown; {remedy}")
    recording = soundfile.SoundFile(source)
    rate, channels = recording.samplerate, recording.channels
    if LOWEST_RATE <= rate <= highest_rate and channels <= max_channels:
        return recording
    recording.close()
    if channels > max_channels:
        raise OutOfBounds(f"{name}: {channels} channels, at most {max_channels} are read; mix it down to mono")
    bounds = f"{LOWEST_RATE} to {highest_rate} Hz"
    raise OutOfBounds(f"{name}: sampling rate {rate} Hz, wanted {bounds}; resample it to 16000 Hz")


def _read(recording: soundfile.SoundFile, num_frames: float = float("inf")) -> np.ndarray:
    """Read the next samples (num_samples, channels) in blocks: a header may claim more than the file has."""
    size, blocks = max(1, BLOCK_VALUES // recording.channels), []
    while num_frames > 0 and len(block := recording.read(int(min(size, num_frames)), dtype="float32", always_2d=True)):
        blocks.append(block)
        num_frames -= len(block)
    return blocks[0] if len(blocks) == 1 else np.concatenate([np.zeros((0, recording.channels), np.float32), *blocks])


def to_16k_mono(samples: np.ndarray, rate: int) -> np.ndarray:
    """samples: (num_samples,) or (num_samples, channels), any rate -> (num_samples,) at 16 kHz, channels averaged."""
    if samples.ndim == 2:
        samples = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    return samples.astype(np.float32, copy=False)


def header_duration_s(entry: str | Path) -> float:
    """Return the duration in a file's header. Raises the errors of `open_entry` if it cannot be read."""
    with open_entry(str(entry)) as recording:
        return recording.frames / recording.samplerate


def read_excerpt(recording: soundfile.SoundFile, start_s: float | None, end_s: float | None) -> np.ndarray:
    """Decode only [start_s, end_s) of an open file, as 16 kHz mono."""
    rate = recording.samplerate
    start = round((start_s or 0.0) * rate)
    if start > recording.frames:
        return np.zeros(0, dtype=np.float32)
    if recording.tell() != start:
        recording.seek(start)
    num_frames = float("inf") if end_s is None else round(end_s * rate) - start
    return to_16k_mono(_read(recording, num_frames), rate)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Convert to 16-bit samples (full scale 1.0), with clipping."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
