"""Stream a Kaldi table (`id rest of the line`) as Arrow columns, block by block, in little memory.

In: a UTF-8 file. Out: `Block`s of whole lines. Plain lines are cut all at once; a block with tabs, control characters
or several blanks in a row is cut line by line, some ten times as slowly. Reads what `numbered_lines` reads, but a blank
line is an error.
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
BLOCK_BYTES = 2 << 20  # what a processor's cache holds; 8 MiB take half as long again


class Block(NamedTuple):
    """Some neighbouring lines of a table."""

    first_line: int  # its number in the file, from 1
    keys: pa.LargeStringArray
    values: pa.LargeStringArray  # what follows the key, without blanks at either end; may be empty
    data: bytes  # the lines, each ended, the file's byte order mark left out
    plain: bool  # words parted by one space, no blanks at the ends of lines, no tab or other control character


def blocks(path: str | Path, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """All lines of a file in order. Raises ValueError with file and line if one is blank or not UTF-8."""
    path, line = Path(path), 1
    for data in _whole_lines(path, block_bytes):
        if line == 1:
            data = data.removeprefix(BYTE_ORDER_MARK)
        _check_utf8(data, path, line)
        block = _cut_at_once(data, line) or _cut_by_lines(data, path, line)
        yield block
        line += len(block.keys)


def _whole_lines(path: Path, block_bytes: int) -> Iterator[bytes]:
    """The file in pieces of about this size that end with a newline, which the last gets if it lacks one."""
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
    """The bytes as an array of one string, not copied: Arrow then searches all lines at once."""
    return pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(data)])), pa.py_buffer(data))


def _cut_at_once(data: bytes, line: int) -> Block | None:
    """None unless the lines are plain."""
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
    """data[start:stop] of each pair; what lies between them is cut as well and not taken."""
    offsets = np.column_stack((starts, stops)).ravel()
    pieces = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
    return pieces.take(pa.array(np.arange(0, len(pieces), 2)))


def _cut_by_lines(data: bytes, path: Path, line: int) -> Block:
    keys, values = [], []
    for number, text in enumerate(data.decode().split("\n")[:-1], line):
        if is_blank(text):
            raise ValueError(f"{path}:{number}: the line is blank, wanted `key value`; take it out")
        text = text.rstrip("\r")
        check_line(text, f"{path}:{number}")
        key, value = key_and_value(text)
        keys.append(key)
        values.append(value)
    return Block(line, pa.array(keys, pa.large_string()), pa.array(values, pa.large_string()), data, plain=False)
