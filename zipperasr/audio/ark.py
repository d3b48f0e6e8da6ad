"""Read audio files and binary float vectors from Kaldi arks.

In: an ark, or an scp entry `FILE[:OFFSET]`. Out: the bytes of an audio file, float vectors. Unlike Kaldi's tools and
kaldiio, this module never runs commands (`cmd |`) or unpickles objects (`PKL`), because arks may be untrusted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from zipperasr.text_lines import refuse_pipe

MAX_KEY_BYTES = 4096
_OFFSET = re.compile(r"(.+):(\d{1,18})", re.DOTALL)
_AUDIO = b"AUDIO"  # kaldiio; followed by the number of bytes of the length, the length, and the audio file
_VECTORS = {b"\0BFV \4": np.dtype("<f4"), b"\0BDV \4": np.dtype("<f8")}


def split_entry(entry: str) -> tuple[str, int | None]:
    """Split `FILE:OFFSET` into file and offset; the offset of a plain file is None."""
    match = _OFFSET.fullmatch(entry) if entry[-1:].isdigit() else None  # millions of entries are files
    return (match[1], int(match[2])) if match else (entry, None)


def audio_bytes(stream: BinaryIO, offset: int, where: str) -> bytes:
    """Return the audio file at an offset of an ark, with or without kaldiio's AUDIO mark.

    Raises ValueError if there is no audio at the offset or the ark is truncated.
    """
    stream.seek(offset)
    mark = stream.read(len(_AUDIO))
    if mark == _AUDIO:
        width = stream.read(1)
        length = int.from_bytes(stream.read(width[0]), "little") if width else 0
    elif mark.startswith((b"RIFF", b"fLaC")):
        stream.seek(offset)
        header = stream.read(8)
        rest = _left(stream) + len(header)  # FLAC does not store its length; the decoder stops at its end
        length = int.from_bytes(header[4:], "little") + len(header) if mark.startswith(b"RIFF") else rest
        stream.seek(offset)
    else:
        raise ValueError(f"{where}: got {mark!r} at byte {offset} of {stream.name}, wanted audio; rerun stage 2")
    left = _left(stream)
    if length > left:
        raise ValueError(f"{where}: {stream.name} ends after {left} of {length} bytes of audio; rerun stage 2")
    return stream.read(length)


def read_vector(entry: str, where: str) -> np.ndarray:
    """Return the float vector of an scp entry. Raises ValueError or OSError."""
    path, offset = split_entry(refuse_pipe(entry, where))
    with open(path, "rb") as stream:
        stream.seek(offset or 0)
        return _vector(stream, f"{where}: {entry}")


def read_vectors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (key, float vector) of an ark. Raises ValueError if it contains anything else."""
    with path.open("rb") as stream:
        while _left(stream):
            key = _key(stream, path)
            yield key, _vector(stream, f"{path}: {key!r}")


def _key(stream: BinaryIO, path: Path) -> str:
    start = stream.tell()
    key, space, _ = stream.read(MAX_KEY_BYTES).partition(b" ")
    stream.seek(start + len(key) + len(space))
    try:
        if key and space:
            return key.decode()
    except UnicodeDecodeError:
        pass
    raise ValueError(f"{path}: byte {start}: got {key[:20]!r}, wanted an id and a space; is this a Kaldi ark?")


def _vector(stream: BinaryIO, where: str) -> np.ndarray:
    mark = stream.read(6)
    if mark not in _VECTORS:
        raise ValueError(f"{where}: got {mark!r}, wanted a binary float vector (FV or DV)")
    dtype = _VECTORS[mark]
    length = int.from_bytes(_read(stream, 4, where), "little", signed=True)
    if length < 0:
        raise ValueError(f"{where}: got a vector of {length} numbers; write the file again")
    return np.frombuffer(_read(stream, length * dtype.itemsize, where), dtype)


def _read(stream: BinaryIO, length: int, where: str) -> bytes:
    """Read `length` bytes, after checking that the file has as many."""
    left = _left(stream)
    if length > left:
        raise ValueError(f"{where}: the file ends after {left} of {length} bytes; write the file again")
    return stream.read(length)


def _left(stream: BinaryIO) -> int:
    return max(0, os.fstat(stream.fileno()).st_size - stream.tell())
