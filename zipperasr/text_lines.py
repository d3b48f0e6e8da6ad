"""Read UTF-8 text files line by line, and check ids, texts and durations that other people wrote.

In: a file or a string. Out: numbered lines or the checked value; every error names the file and the line.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from math import inf
from pathlib import Path

BLOCK_BYTES = 1 << 20  # decoded per call
COMPOSED = ('["', "[[")  # how the entry of a composed clip starts
NOT_IN_ID = re.compile(r"[\s/\x00-\x1f\x7f]")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of a UTF-8 file, without line ends, blank lines and byte order mark."""
    number = 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            for line in _decode(block + stream.readline(), path, number):
                number += 1
                if line[:1] > " " or not is_blank(line):
                    yield number, line


def count_lines(path: Path) -> int:
    """Count the line ends of a file."""
    with path.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(BLOCK_BYTES), b""))


def is_blank(line: str) -> bool:
    """True if the line has only ASCII whitespace. Like Kaldi, treats other scripts' spaces as text."""
    return not line.strip(string.whitespace)


def refuse_pipe(entry: str, where: str) -> str:
    """Return an entry of an scp file. Raises ValueError if it is a command (`cmd |`)."""
    if entry.strip().startswith("|") or entry.strip().endswith("|"):
        raise ValueError(
            f"{where}: {entry[:80]!r} is a command; commands in scp files are not run; "
            "run it yourself and enter the file that it writes"
        )
    return entry


def is_composed(entry: str) -> bool:
    """True for the entry of a composed clip (zipperasr/audio/clips.py): a JSON list of recordings and silences."""
    return entry.startswith(COMPOSED) and entry.endswith("]")


def refuse_composed(entry: str, where: str) -> str:
    """Return an entry of an scp file. Raises ValueError if it is a composed clip, which only a manifest may have."""
    if is_composed(entry):
        raise ValueError(f"{where}: {entry[:80]!r} is a composed clip of a manifest; enter one recording per line")
    return entry


def _decode(lines: bytes, path: Path, number_before: int) -> list[str]:
    """Decode many lines in one call, three times as fast as one by one."""
    try:
        text = lines.decode()
    except UnicodeDecodeError as error:
        at = error.object.count(b"\n", 0, error.start) + 1
        number = number_before + at
        raise ValueError(f"{path}:{number}: not UTF-8 ({error.reason}); convert the file with iconv") from error
    if number_before == 0:
        text = text.removeprefix("\ufeff")
    found = text.removesuffix("\n").split("\n")
    if "\r" in text or "\0" in text:
        found = [line.rstrip("\r") for line in found]
        for number, line in enumerate(found, number_before + 1):
            check_line(line, f"{path}:{number}")
    return found


def check_line(line: str, where: str) -> None:
    """Raise ValueError for a carriage return inside the line (old Mac line ends) or a NUL (a binary file)."""
    if "\r" in line:
        raise ValueError(f"{where}: a carriage return inside the line; convert the line ends with `tr '\\r' '\\n'`")
    if "\0" in line:
        raise ValueError(f"{where}: a NUL character; is this a text file in UTF-8?")


def check_duration_s(seconds: float, where: str) -> float:
    """Return a duration in seconds. Raises ValueError unless it is finite and not negative."""
    if not 0 <= seconds < inf:
        raise ValueError(f"{where}: got a duration of {seconds} s, wanted 0 or more; correct the line")
    return seconds


def check_text(text: str, where: str) -> str:
    """Return the text. Raises ValueError if UTF-8 cannot encode it: JSON may hold a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: text {text[:40]!a} is not Unicode ({error.reason}); correct the line") from error
    return text


def check_id(utt_id: str, where: str) -> str:
    """Return the id, which becomes a key of space-separated files and part of a path.

    Raises ValueError if it is empty or contains whitespace, slashes or control characters.
    """
    if not utt_id or NOT_IN_ID.search(utt_id) or utt_id in {".", ".."}:
        raise ValueError(f"{where}: id {utt_id!r} is empty or contains whitespace or slashes; correct the line")
    return utt_id if utt_id.isascii() else check_text(utt_id, where)
