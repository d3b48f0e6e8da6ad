"""One utterance of a corpus, and how readers open their files and complain.

In: nothing. Out: `Utterance`, the common currency between corpus readers and data dirs, and line reading that
names file and line in every error.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import NamedTuple

BLOCK_BYTES = 1 << 20  # of a file that are decoded at a time
NOT_IN_ID = re.compile(r"[\s/\x00-\x1f\x7f]")


class Utterance(NamedTuple):
    """What a corpus says about one utterance. Start and end are set where the audio file holds several.

    A named tuple, and its path a str: corpora have millions of them, and other kinds take three times as long to make.
    """

    id: str  # the corpus's own id, as utterance lists write it
    speaker: str  # the corpus's own speaker; the recording where the corpus names none
    audio: str  # path
    text: str
    lang_code: str
    start_s: float | None = None  # None: the whole file
    end_s: float | None = None
    duration_s: float | None = None  # None: the metadata does not say


def require_directory(path: Path, remedy: str) -> Path:
    """`path` if it is a directory with something in it. Raises ValueError with the remedy."""
    if not path.is_dir():
        raise ValueError(f"{path}: no such directory; {remedy}")
    if next(path.iterdir(), None) is None:
        raise ValueError(f"{path}: the directory is empty; {remedy}")
    return path


def require_file(path: Path, remedy: str) -> Path:
    """`path` if it is a file. Raises ValueError with the remedy."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {remedy}")
    return path


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file without line ends, blank lines left out; a byte order mark is dropped."""
    number = 0
    with path.open("rb") as stream:
        while block := stream.readlines(BLOCK_BYTES):
            for line in _decode(block, path, number):
                number += 1
                line = line.rstrip("\r\n")
                if not is_blank(line):
                    yield number, line


def is_blank(line: str) -> bool:
    """True if there are but ASCII blanks in it: another script's space may be a word, as it is to Kaldi."""
    return not line.strip(string.whitespace)


def refuse_pipe(entry: str, where: str) -> str:
    """The entry of an scp file. Raises ValueError if it is a command (`cmd |`)."""
    if entry.strip().startswith("|") or entry.strip().endswith("|"):
        raise ValueError(
            f"{where}: {entry[:80]!r} is a command; commands in scp files are not run: they could do anything; "
            "run it yourself and name the file that it writes"
        )
    return entry


def _decode(lines: list[bytes], path: Path, number_before: int) -> list[str]:
    """Many lines at once, three times as fast as one by one."""
    try:
        text = b"".join(lines).decode()
    except UnicodeDecodeError as error:
        at = error.object.count(b"\n", 0, error.start) + 1
        number = number_before + at
        raise ValueError(f"{path}:{number}: not UTF-8 ({error.reason}); convert the file with iconv") from error
    if number_before == 0:
        text = text.removeprefix("\ufeff")
    found = text.removesuffix("\n").split("\n")
    if "\r" in text or "\0" in text:
        for number, line in enumerate(found, number_before + 1):
            check_line(line.rstrip("\r"), f"{path}:{number}")
    return found


def check_line(line: str, where: str) -> None:
    """Raises ValueError for characters that would make one line of many, or of a file that is no text."""
    if "\r" in line:
        raise ValueError(f"{where}: a carriage return inside the line; convert the line ends with `tr '\\r' '\\n'`")
    if "\0" in line:
        raise ValueError(f"{where}: a NUL character; is this a text file in UTF-8?")


def check_duration_s(seconds: float, where: str) -> float:
    """A length in seconds: finite, not negative."""
    if not 0 <= seconds < inf:
        raise ValueError(f"{where}: got a duration of {seconds} s; mend the line")
    return seconds


def check_text(text: str, where: str) -> str:
    """Text that can be written: JSON can name half a character (a lone surrogate), which UTF-8 has not."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: text {text[:40]!a} is not Unicode ({error.reason}); mend the line") from error
    return text


def check_id(utt_id: str, where: str) -> str:
    """An id becomes a key in space-separated files and part of a path: no blanks, slashes, control characters."""
    if not utt_id or NOT_IN_ID.search(utt_id) or utt_id in {".", ".."}:
        raise ValueError(f"{where}: id {utt_id!r} is empty or holds blanks or slashes; mend the line")
    return utt_id if utt_id.isascii() else check_text(utt_id, where)
