"""Read NIST's trn format: `words (id)`, one utterance per line.

In: a file. Out: transcripts and ids, one line at a time; references by id, through an index of file positions instead
of the transcripts. A malformed line is an error, also in cases in which sclite would misread it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zipperasr.score.sclite.alternation import parse
from zipperasr.score.sclite.words import WordRules

COMMENTS = (b";;", b"**")


@dataclass(frozen=True)
class Line:
    """`number` starts at 1; `offset` is in bytes; `id` has its brackets and is case-folded unless `-s`."""

    number: int
    offset: int
    text: bytes
    id: bytes


def read_trn(path: Path, rules: WordRules) -> Iterator[Line]:
    """Yield the utterances of a trn file. Raises ValueError with the line."""
    with path.open("rb") as stream:
        yield from _lines(stream, path, rules)


def _lines(stream: BinaryIO, path: Path, rules: WordRules) -> Iterator[Line]:
    """Yield the utterances, without comments and empty lines."""
    offset = 0
    for number, line in enumerate(stream, start=1):
        if not line.startswith(COMMENTS) and not line.isspace():
            try:
                _check(line, number, rules)
                text, utt_id = _split_id(line)
                if b"{" in text or b"}" in text:
                    parse(text)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from error
            yield Line(number, offset, rules.folded(text), rules.folded(utt_id))
        offset += len(line)


class References:
    """Transcripts of the reference file by id; keeps an id and a file position per utterance."""

    def __init__(self, path: Path, rules: WordRules):
        """Read the whole file once. Raises ValueError if a line is malformed or an id is repeated."""
        self._path, self._rules = path, rules
        self._offsets: dict[bytes, int] = {}
        self._stream = _seekable(path)
        for line in _lines(self._stream, path, rules):
            if line.id in self._offsets:
                raise ValueError(f"{path}:{line.number}: id {shown(line.id)} is listed twice; {_once(rules)}")
            self._offsets[line.id] = line.offset

    def close(self) -> None:
        self._stream.close()

    def take(self, line: Line, hyp_path: Path) -> bytes:
        """The reference of a hypothesis line. Raises ValueError if there is none or the id is repeated."""
        offset = self._offsets.get(line.id)
        if offset is None:
            raise ValueError(
                f"{hyp_path}:{line.number}: no reference for id {shown(line.id)} in {self._path}; "
                "add it there or remove this line"
            )
        if offset < 0:
            raise ValueError(f"{hyp_path}:{line.number}: id {shown(line.id)} is listed twice; {_once(self._rules)}")
        self._offsets[line.id] = -1
        self._stream.seek(offset)
        return self._rules.folded(_split_id(self._stream.readline())[0])


def _seekable(path: Path) -> BinaryIO:
    """The file, or a copy of it if it is a pipe, such as the shell's <(...)."""
    stream = path.open("rb")
    if stream.seekable():
        return stream
    with stream:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 (its reader closes it)
        shutil.copyfileobj(stream, copy)
    copy.seek(0)
    return copy


def _once(rules: WordRules) -> str:
    return f"keep one line per utterance{' (without -s, ids are not case-sensitive)' if rules.fold_case else ''}"


def _check(line: bytes, number: int, rules: WordRules) -> None:
    """Raise ValueError for lines that are not text or that sclite would lose."""
    if not line.endswith(b"\n"):
        raise ValueError("the last line has no newline; add one (sclite ignores such an utterance)")
    if line.endswith(b"\r\n"):
        raise ValueError("got a DOS line end (CR LF), wanted LF; convert the file, for example with dos2unix")
    if number == 1 and line.startswith(b"\xef\xbb\xbf"):
        raise ValueError("got a byte order mark before the first word; remove the file's first 3 bytes")
    if b"\0" in line:
        raise ValueError("got a zero byte, wanted text; is this a trn file?")
    if rules.utf8 and not line.isascii():
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8 at byte {error.start + 1}; convert the file, or leave out -e utf-8") from error


def _split_id(line: bytes) -> tuple[bytes, bytes]:
    """(text, id with brackets). Raises ValueError if the line does not end in an id."""
    line = line.rstrip()
    start = line.rfind(b"(")
    if start < 0 or b")" not in line[start:]:
        raise ValueError(f"no id in brackets at the end of {shown(line[-40:])}; wanted: words (speaker-utterance)")
    utt_id = line[start:]
    if not utt_id.endswith(b")") or utt_id.count(b")") > 1:
        raise ValueError(f"got {shown(utt_id[-40:])} for the id; wanted one pair of brackets, and nothing after it")
    if not utt_id[1:-1].strip():
        raise ValueError("the id in brackets is empty; wanted: words (speaker-utterance)")
    return line[:start], utt_id


def shown(text: bytes) -> str:
    """Bytes as text for a message."""
    return repr(text.decode("utf-8", errors="backslashreplace"))
