"""Stream a Kaldi table (`id rest of the line`) as Arrow columns, block by block, in little memory.

In: a UTF-8 file. Out: `Block`s of whole lines. Blocks of plain lines are split in one operation; those with tabs,
control characters or repeated blanks line by line, about ten times as slowly. Reads the same lines as `numbered_lines`,
but blank lines are errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from zipperasr.datadir.entry import key_and_value
from zipperasr.text_lines import check_line, is_blank

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLOCK_BYTES = 2 << 20  # fits into a processor's cache; 8 MiB take 1.5 times as long


class Block(NamedTuple):
    """Consecutive lines of a table."""

    first_line: int  # line number in the file, from 1
    keys: pa.LargeStringArray
    values: pa.LargeStringArray  # the rest of the line, stripped; may be empty
    data: bytes  # the lines with line ends, without byte order mark
    plain: bool  # single spaces between words, none at the ends of lines, no tabs or other control characters


def blocks(path: str | Path, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Yield all lines of a file. Raises ValueError with file and line if one is blank or not UTF-8."""
    path, line = Path(path), 1
    for data in _whole_lines(path, block_bytes):
        if line == 1:
            data = data.removeprefix(BYTE_ORDER_MARK)
        _check_utf8(data, path, line)
        block = _cut_at_once(data, line) or _cut_by_lines(data, path, line)
        yield block
        line += len(block.keys)


def _whole_lines(path: Path, block_bytes: int) -> Iterator[bytes]:
    """Yield the file in pieces of about this size that end with a newline; one is appended to the file if missing."""
    rest: list[bytes] = []
    with path.open("rb") as stream:
        while piece := stream.read(block_bytes):
            cut = piece.rfind(b"\n") + 1
            if cut:
                yield b"".join((*rest, memoryview(piece)[:cut]))
                rest = [piece[cut:]]
            else:
                rest.append(piece)
    if any(rest):
        yield b"".join((*rest, b"\n"))


def _check_utf8(data: bytes, path: Path, line: int) -> None:
    if data.isascii():
        return
    try:
        whole(data).validate(full=True)
    except pa.ArrowInvalid:
        for number, raw in enumerate(data.split(b"\n"), line):
            try:
                raw.decode()
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}:{number}: not UTF-8 ({error.reason}); convert the file with iconv") from error
        raise


def whole(data: bytes) -> pa.LargeStringArray:
    """Return the bytes as an array of one string, without a copy, so that Arrow can search all lines in one call."""
    return pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(data)])), pa.py_buffer(data))


def _cut_at_once(data: bytes, line: int) -> Block | None:
    """Split plain lines; return None for others."""
    codes = np.frombuffer(data, np.uint8)
    blanks = np.flatnonzero(codes <= ord(" "))
    kinds = codes[blanks]
    ends = np.flatnonzero(kinds == ord("\n"))  # numbers of blanks
    others = len(ends) + np.count_nonzero(kinds == ord(" ")) != len(blanks)
    if others or not len(ends) or blanks[0] == 0 or (np.diff(blanks) == 1).any():
        return None
    stops = blanks[ends]
    starts = np.concatenate(([0], stops[:-1] + 1))
    key_stops = blanks[np.concatenate(([0], ends[:-1] + 1))]
    keys = _slices(data, starts, key_stops)
    return Block(line, keys, _slices(data, np.minimum(key_stops + 1, stops), stops), data, plain=True)


def _slices(data: bytes, starts: np.ndarray, stops: np.ndarray) -> pa.LargeStringArray:
    """Return data[start:stop] of each pair of offsets."""
    offsets = np.column_stack((starts, stops)).ravel()
    pieces = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
    return pieces.take(pa.array(np.arange(0, len(pieces), 2)))


def _cut_by_lines(data: bytes, path: Path, line: int) -> Block:
    keys, values = [], []
    for number, text in enumerate(data.decode().split("\n")[:-1], line):
        if is_blank(text):
            raise ValueError(f"{path}:{number}: the line is blank, wanted `key value`; remove it")
        text = text.rstrip("\r")
        check_line(text, f"{path}:{number}")
        key, value = key_and_value(text)
        keys.append(key)
        values.append(value)
    return Block(line, pa.array(keys, pa.large_string()), pa.array(values, pa.large_string()), data, plain=False)
