"""Rows of the page: JSON lines, gzipped, base64, named by their content.

In: rows. Out: `<script type="application/gzip">` elements, which browsers do not run and the page decompresses on
demand. A block is kept in a temporary file until it is written, so memory does not grow with the test set.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO

LEVEL = 6  # of gzip: 9 takes twice as long for 1 % less
BASE64_BYTES = 3 << 16  # a multiple of 3: no padding but at the end


class Block:
    """Rows for the page: `add` them, `close`, then use `name` and `write_to`."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._gzip = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=LEVEL, mtime=0)
        self._digest = hashlib.sha256()
        self.num_rows = 0

    def add(self, row: list[Any]) -> None:
        """Append one row. Raises ValueError for nan and infinity, which JSON lacks."""
        data = (_json(row) + "\n").encode()
        self._digest.update(data)
        self._gzip.write(data)
        self.num_rows += 1

    def close(self) -> None:
        """End the block."""
        self._gzip.close()

    @property
    def name(self) -> str:
        """Digest of the rows."""
        return "b" + self._digest.hexdigest()[:16]

    def write_to(self, page: TextIO) -> None:
        """The element, as one line."""
        page.write(f'<script type="application/gzip" id="{self.name}">')
        self._file.seek(0)
        while piece := self._file.read(BASE64_BYTES):
            page.write(base64.b64encode(piece).decode("ascii"))
        page.write("</script>\n")


@contextmanager
def new_block() -> Iterator[Block]:
    """A block whose temporary file is deleted on exit."""
    with tempfile.TemporaryFile() as file:
        yield Block(file)


def inline_json(value: object) -> str:
    """JSON for a script element: without `<`, so that no text in it can end the element."""
    return _json(value).replace("<", "\\u003c")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
