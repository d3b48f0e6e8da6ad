"""One utterance of a Kaldi data directory (`Entry`), and reading one table into memory.

An utterance id starts with its speaker, because of Kaldi's sort order. read.py and write.py read and write directories
of any size; memory_tables.py holds one in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from zipperasr.text_lines import numbered_lines


class Entry(NamedTuple):
    """One utterance of a data directory."""

    utt: str  # SPEAKER-ORIGINAL_ID
    speaker: str
    audio: str  # path, or an entry of an ark
    text: str
    language: str
    duration_s: float
    repeat: int = 1  # how often the authors' list contains it
    start_s: float | None = None
    end_s: float | None = None
    num_samples: int | None = None  # at 16 kHz, known after stage 2


ENTRIES = pa.schema(  # the same as columns
    [(name, pa.string()) for name in ("utt", "speaker", "audio", "text", "language")]
    + [("duration_s", pa.float64()), ("repeat", pa.int32()), ("start_s", pa.float64()), ("end_s", pa.float64())]
    + [("num_samples", pa.int64())]
)


def key_and_value(line: str) -> tuple[str, str]:
    """Split a line into its first word and the rest, which may be empty, at spaces and tabs, as Kaldi does."""
    line = line.strip(" \t")
    key, _, value = line.partition(" ")
    if "\t" in key:
        key, _, value = line.partition("\t")
    return key, value.lstrip(" \t")


def read_table(path: str | Path, may_be_empty: bool = False) -> dict[str, str]:
    """Read lines `key rest of the line` as {key: rest}. Raises ValueError on a repeated key or an empty value.

    Args:
        may_be_empty: allow empty values, such as the text of an utterance without speech.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run the stage that writes it")
    table: dict[str, str] = {}
    for number, line in numbered_lines(path):
        key, rest = key_and_value(line)
        if not rest and not may_be_empty:
            raise ValueError(f"{path}:{number}: {key!r} has no value; wanted `key value`")
        if key in table:
            raise ValueError(f"{path}:{number}: {key!r} is repeated; keep one line")
        table[key] = rest
    return table


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, with a line end after each line."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(line + "\n" for line in lines)
