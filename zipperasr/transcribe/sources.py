"""Find recordings: files, folders, Kaldi's wav.scp, or `-` for standard input. Read them in 16 kHz mono blocks."""

from __future__ import annotations

import io
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from zipperasr.audio.load import (
    BLOCK_VALUES,
    HIGHEST_RATE,
    MAX_CHANNELS,
    RAW,
    SAMPLE_RATE,
    check_samples,
    load_audio,
    open_audio,
    to_16k_mono,
)
from zipperasr.decode.phrases import Phrase
from zipperasr.text_lines import numbered_lines, refuse_pipe

BLOCK_S = 10.0
STDIN = "-"
ENDINGS = tuple(sorted({f".{name.lower()}" for name in (*soundfile.available_formats(), "oga", "opus", "aif")} - {RAW}))


@dataclass(frozen=True)
class Recording:
    """A recording to transcribe; nothing has been read yet."""

    id: str  # name given by the user
    audio: str | Path | np.ndarray  # a file, an entry of wav.scp, `-`, or samples
    rate: int = SAMPLE_RATE  # of samples
    hints: tuple[Phrase, ...] = ()  # what may be said in it

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield 16 kHz mono float32 in blocks. Raises ValueError or OSError if it cannot be decoded or used."""
        if isinstance(self.audio, np.ndarray):
            yield check_samples(to_16k_mono(self.audio, self.rate), self.id)
        elif self.audio == STDIN:  # libsndfile needs a seekable stream
            yield from decoded_blocks(io.BytesIO(sys.stdin.buffer.read()), "standard input")
        elif not Path(self.audio).exists() and ":" in str(self.audio):
            yield load_audio(self.audio)
        else:
            yield from decoded_blocks(self.audio, str(self.audio))


def find_recordings(names: Iterable[str]) -> Iterator[Recording]:
    """Yield the recordings of all names in order; those of a folder sorted. Raises FileNotFoundError, ValueError."""
    for name in names:
        path = Path(name)
        if name == STDIN:
            yield Recording(STDIN, STDIN)
        elif path.is_dir():
            endings = {*ENDINGS, RAW}  # raw files are reported, not ignored
            inside = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in endings)
            if not inside:
                raise FileNotFoundError(f"{path}: no audio file in this folder; supported: {' '.join(ENDINGS)}")
            yield from (Recording(str(file), file) for file in inside)
        elif path.suffix == ".scp":
            yield from _entries(path)
        else:
            yield Recording(name, path)


def _entries(scp: Path) -> Iterator[Recording]:
    for number, line in numbered_lines(scp):
        utt, _, entry = line.strip().partition(" ")
        if not entry:
            raise ValueError(f"{scp}:{number}: got {line!r}, wanted an id, then a file or an ark entry")
        yield Recording(utt, refuse_pipe(entry.strip(), f"{scp}:{number}"))


def decoded_blocks(
    source: str | Path | BinaryIO, name: str, highest_rate: int = HIGHEST_RATE, max_channels: int = MAX_CHANNELS
) -> Generator[np.ndarray, None, None]:
    """Yield 16 kHz mono float32 in blocks of up to 10 s; the last may be empty.

    Raises ValueError, OSError if it cannot be decoded; OutOfBounds before any sample is read if its rate or its number
    of channels is out of bounds, and after a block with a sample that is.
    """
    if isinstance(source, str | Path) and not Path(source).exists():
        raise FileNotFoundError(f"{name}: no such file")
    try:
        with open_audio(source, name, highest_rate, max_channels) as recording:
            resampler = None
            if recording.samplerate != SAMPLE_RATE:
                resampler = soxr.ResampleStream(recording.samplerate, SAMPLE_RATE, 1, dtype="float32")
            size = min(int(BLOCK_S * recording.samplerate), BLOCK_VALUES // recording.channels)
            mono = recording.read(size, dtype="float32", always_2d=True).mean(axis=1)
            while len(mono):
                following = recording.read(size, dtype="float32", always_2d=True).mean(axis=1)
                if resampler is not None:
                    mono = resampler.resample_chunk(mono, last=not len(following))
                yield check_samples(mono, name)
                mono = following
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{name}: cannot be decoded ({error.error_string})") from error
