"""Reorder text from utterance order to speaker order on disk.

In: pieces of text with their speaker. Out: all pieces of one speaker, in order. Memory: 16 bytes per run of pieces of
the same speaker.
"""

from __future__ import annotations

import tempfile
from array import array
from typing import BinaryIO

_BLOCK = 1 << 20


class Spool:
    """A temporary file, deleted when closed."""

    def __init__(self) -> None:
        self._stream = tempfile.TemporaryFile(buffering=_BLOCK)  # noqa: SIM115 (closed by close())
        self._size = 0
        self._ranges: dict[bytes, array[int]] = {}  # start, end, start, end, ...

    def add(self, speaker: bytes, text: bytes) -> None:
        ranges = self._ranges.setdefault(speaker, array("q"))
        if ranges and ranges[-1] == self._size:
            ranges.pop()
        else:
            ranges.append(self._size)
        self._stream.write(text)
        self._size += len(text)
        ranges.append(self._size)

    def copy(self, speaker: bytes, target: BinaryIO) -> None:
        """Write all of the speaker's pieces to `target`."""
        ranges = self._ranges.get(speaker, array("q"))
        for start, end in zip(ranges[::2], ranges[1::2], strict=True):
            self._stream.seek(start)
            while start < end:
                block = self._stream.read(min(_BLOCK, end - start))
                target.write(block)
                start += len(block)

    def close(self) -> None:
        self._stream.close()
