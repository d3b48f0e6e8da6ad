"""Rows of the page: JSON lines, gzipped, base64, named by their content.

In: rows. Out: `<script type="application/gzip">` elements, which the browser does not run and the page decompresses
when they are asked for. A block waits in a temporary file, so memory does not grow with the test set.
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
    """Rows on their way into the page: `add` them, `close`, then `name` and `write_to`."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._gzip = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=LEVEL, mtime=0)
        self._digest = hashlib.sha256()
        self.num_rows = 0

    def add(self, row: list[Any]) -> None:
        """Append one row. Raises ValueError for a number that JSON has not."""
        data = (_json(row) + "\n").encode()
        self._digest.update(data)
        self._gzip.write(data)
        self.num_rows += 1

    def close(self) -> None:
        """No more rows."""
        self._gzip.close()

    @property
    def name(self) -> str:
        """The same for the same rows."""
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
    """A block whose temporary file goes with the context."""
    with tempfile.TemporaryFile() as file:
        yield Block(file)


def inline_json(value: object) -> str:
    """JSON that may stand inside a script element: no `<`, so that no text of it ends the element."""
    return _json(value).replace("<", "\\u003c")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
