"""Check format, order and ids of one table of a Kaldi data directory while streaming it.

In: a file, and the ids that it must have. Out: its blocks, or ValueError with file:line, id and remedy. Each check
tests a whole block first, and single lines only if the block has something wrong or unusual.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from zipperasr.datadir.arrow_blocks import BYTE_ORDER_MARK, Block, blocks, whole

REMEDY = "rerun the stage that wrote it"
OTHER_BLANK = r"[\x0b\x0c\r\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
UNPRINTABLE = r"[^\pL\pM\pN\pP\pS\pZ\p{Cf}\p{Co}\t\n]"
SYMBOLS = (b"<s>", b"</s>", b"#0")
SYMBOL = re.compile(rb"(?<![A-Za-z0-9_])(?:<s>|</s>|#0)(?![A-Za-z0-9_])")  # `grep -w` in the C locale


def checked(path: Path, wanted: pa.LargeStringArray | None = None, of: str = "utt2spk") -> Iterator[Block]:
    """Yield the blocks of a table. Raises ValueError unless ids are in C order and equal to `wanted`, those of `of`."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {REMEDY}")
    _check_first_bytes(path)
    done, last, odd = 0, None, None
    block = None
    for block in blocks(path):
        check_characters(block, path, OTHER_BLANK, "a blank other than a space or a tab in the line")
        expected = wanted.slice(done, len(block.keys)) if wanted is not None else None
        if expected is None or odd or not expected.equals(block.keys):
            _check_order(block, path, last)  # in the whole file, before reporting a difference
            odd = odd or (expected is not None and _difference(block, expected, path, of))
        if not odd:
            yield block
        done, last = done + len(block.keys), block.keys[-1].as_py()
    if block is None:
        raise ValueError(f"{path}: the file is empty; {REMEDY}")
    if wanted is not None and done < len(wanted) and not odd:
        odd = _lacking(path, wanted[done].as_py(), of)
    if odd:
        raise ValueError(odd)
    _check_last_byte(path, block)


def check_characters(block: Block, path: Path, pattern: str, problem: str) -> None:
    """Raise ValueError for the first line that matches an RE2 pattern, which must not match plain ASCII."""
    if (block.plain and block.data.isascii()) or not pc.match_substring_regex(whole(block.data), pattern)[0].as_py():
        return
    lines = pa.array(block.data[:-1].split(b"\n"), pa.large_string())
    row = pc.index(pc.match_substring_regex(lines, pattern), True).as_py()
    if row >= 0:
        raise ValueError(f"{place(block, row, path)}: {problem}; {REMEDY}")


def check_transcripts(block: Block, path: Path, any_character: bool) -> None:
    """Raise ValueError for text that Kaldi forbids: unprintable characters, and symbols that its graphs use."""
    if not any_character:
        problem = "a character that cannot be printed in the line"
        check_characters(block, path, UNPRINTABLE, problem)
        if b"\x7f" in block.data:  # the unprintable character in plain ASCII
            row = block.data.count(b"\n", 0, block.data.index(b"\x7f"))
            raise ValueError(f"{place(block, row, path)}: {problem}; {REMEDY}")
    if b"<" not in block.data and b"#" not in block.data:  # searching one byte is much faster than three
        return
    if not any(symbol in block.data for symbol in SYMBOLS):
        return
    for row, line in enumerate(block.data.split(b"\n")):
        if found := SYMBOL.search(line):
            symbol = found.group().decode()
            raise ValueError(f"{place(block, row, path)}: {symbol!r} as a word, which Kaldi reserves; remove it")


def place(block: Block, row: int, path: Path) -> str:
    """Return `file:line: id '...'`."""
    return f"{path}:{block.first_line + row}: id {block.keys[row].as_py()!r}"


def _check_first_bytes(path: Path) -> None:
    with path.open("rb") as stream:
        if stream.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK:
            raise ValueError(f"{path}:1: the file begins with a byte order mark; write UTF-8 without one")


def _check_last_byte(path: Path, block: Block) -> None:
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        if stream.read() != b"\n":
            raise ValueError(f"{place(block, len(block.keys) - 1, path)}: no newline ends the last line; {REMEDY}")


def _check_order(block: Block, path: Path, last: str | None) -> None:
    keys = block.keys
    first = keys[0].as_py()
    if (last is None or last < first) and pc.all(pc.less(keys[:-1], keys[1:]), min_count=0).as_py():
        return
    for row, key in enumerate(keys.to_pylist()):
        if last is not None and key <= last:  # code point order equals C order in UTF-8
            problem = "is repeated" if key == last else f"comes after {last!r}, not in C order"
            raise ValueError(f"{place(block, row, path)} {problem}; sort with LC_ALL=C and {REMEDY}")
        last = key


def _difference(block: Block, expected: pa.LargeStringArray, path: Path, of: str) -> str | None:
    """Return an error for the first id that is missing or unknown; None if the table is only too short."""
    for row, (got, want) in enumerate(zip(block.keys.to_pylist(), expected.to_pylist(), strict=False)):
        if got > want:
            return _lacking(path, want, of)
        if got < want:
            return f"{place(block, row, path)} is not in {of}; {REMEDY}"
    if len(block.keys) > len(expected):
        return f"{place(block, len(expected), path)} is not in {of}; {REMEDY}"
    return None


def _lacking(path: Path, key: str, of: str) -> str:
    return f"{path}: id {key!r} of {of} is not in it; {REMEDY}"
