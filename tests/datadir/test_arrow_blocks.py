"""Blocks have the same content as the line-by-line readers give, wherever a block ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from zipperasr.datadir.arrow_blocks import Block, blocks
from zipperasr.datadir.entry import key_and_value
from zipperasr.text_lines import numbered_lines


def written(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "table").write_bytes(content)
    return tmp_path / "table"


def rows(found: list[Block]) -> list[tuple[str, str]]:
    return [pair for block in found for pair in zip(block.keys.to_pylist(), block.values.to_pylist(), strict=True)]


@pytest.mark.parametrize("block_bytes", [1, 7, 16, 1 << 20])
@pytest.mark.parametrize(
    ("content", "plain"),
    [
        (b"a one two\nb\nc three\n", True),
        (b"a one two\nb three", True),
        ("ä größe\nb 你 好\nc กิน\n".encode(), True),
        (b"\xef\xbb\xbfa one\nb two\n", True),
        (b" a  one\ttwo \nb\tthree\nc\t\n", False),
        (b"a one\r\nb two\r\n", False),
        (b"a \nb two\n", False),
        (b"a x\x01y\n", False),
    ],
)
def test_blocks_contain_the_lines_of_the_file(tmp_path: Path, content: bytes, plain: bool, block_bytes: int):
    path = written(tmp_path, content)

    found = list(blocks(path, block_bytes))

    assert rows(found) == [key_and_value(line) for _, line in numbered_lines(path)]
    assert all(block.plain for block in found) == plain
    assert b"".join(block.data for block in found) == content.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n") + b"\n"
    assert [block.first_line for block in found] == [
        1 + sum(len(block.keys) for block in found[:number]) for number in range(len(found))
    ]


def test_a_line_may_be_longer_than_a_block(tmp_path: Path):
    path = written(tmp_path, b"a " + b"word " * 1000 + b"end\nb two\n")

    assert rows(list(blocks(path, 64))) == [("a", "word " * 1000 + "end"), ("b", "two")]


def test_an_empty_file_has_no_blocks(tmp_path: Path):
    assert list(blocks(written(tmp_path, b""))) == []


@pytest.mark.parametrize("block_bytes", [4, 1 << 20])
def test_blank_lines_and_other_encodings_are_errors(tmp_path: Path, block_bytes: int):
    for content in (b"a one\nb two\n\nc three\n", b"a one\nb two\n \t\nc three\n", b"a 1\nb 2\n\n"):
        with pytest.raises(ValueError, match=r"table:3: the line is blank, wanted `key value`; remove it"):
            list(blocks(written(tmp_path, content), block_bytes))
    with pytest.raises(
        ValueError, match=r"table:2: not UTF-8 \(invalid continuation byte\); convert the file with iconv"
    ):
        list(blocks(written(tmp_path, b"a one\nb caf\xe9 x\nc three\n"), block_bytes))


def test_both_readers_agree_on_lines_of_unicode_spaces(tmp_path: Path):
    path = written(tmp_path, "a b\n\u3000\n\x85\n".encode())
    rows = [row for block in blocks(path) for row in zip(block.keys.to_pylist(), block.values.to_pylist(), strict=True)]
    assert rows == [key_and_value(line) for _, line in numbered_lines(path)]
    assert [key for key, _ in rows] == ["a", "\u3000", "\x85"]


@pytest.mark.parametrize("read", [lambda path: list(blocks(path)), lambda path: list(numbered_lines(path))])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a one\rb two\rc three\r", r"table:1: a carriage return inside the line; convert the line ends with `tr"),
        (b"a one\nb two\rc three\n", "table:2: a carriage return inside the line"),
        (b"a one\nb t\0wo\n", r"table:2: a NUL character; is this a text file in UTF-8\?"),
        ("a one\nb two\n".encode("utf-16-le"), "table:1: a NUL character"),
    ],
)
def test_old_macintosh_line_ends_and_nul_are_errors(tmp_path: Path, content: bytes, message: str, read):
    with pytest.raises(ValueError, match=message):
        read(written(tmp_path, content))
