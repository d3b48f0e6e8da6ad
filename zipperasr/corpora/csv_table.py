"""Tables with a header line: comma-separated with quotes as spreadsheets write them, or tab-separated without quotes.

The columns have the names of own_data.py's fields: `audio,text,lang,speaker`. ROOT/[LANGUAGE/]SPLIT.{csv,tsv}.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from zipperasr.corpora.own_data import FIELDS, Format, names_another_language, utterance_of_fields
from zipperasr.corpora.utterance import Utterance

REQUIRED = ("audio", "text")


def _records(path: Path, language: str | None) -> Iterator[tuple[str, dict[str, str] | list[str]]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = _rows(stream, path)
        header = next(rows, (1, []))[1]
        for name in REQUIRED:
            if not set(FIELDS[name]) & set(header):
                raise ValueError(
                    f"{path}:1: got columns {header[:12]}, none of which is {' or '.join(FIELDS[name])}; add a "
                    "header, and separate columns with commas (.csv) or tabs (.tsv)"
                )
        for number, cells in rows:
            row = dict(zip(header, cells, strict=True)) if len(cells) == len(header) else cells
            if language is None or isinstance(row, list) or not names_another_language(row, language):
                yield f"{path}:{number}", row


def _rows(stream, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of rows that are not empty."""
    tabs = path.suffix == ".tsv"
    rows = csv.reader(stream, "excel-tab", quoting=csv.QUOTE_NONE) if tabs else csv.reader(stream, strict=True)
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise ValueError(f"{path}:{rows.line_num}: {error}; correct the line") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: after line {rows.line_num}: {error}; convert the file with iconv") from error
        if cells is None:
            return
        if cells:
            yield rows.line_num, cells


def _utterance(row: dict[str, str] | list[str], where: str, path: Path) -> Utterance:
    if isinstance(row, list):
        raise ValueError(f"{where}: got {len(row)} cells, wanted as many as in the header; correct the line")
    return utterance_of_fields(row, where, path)


FORMAT = Format((".csv", ".tsv"), _records, _utterance)
read = FORMAT.read
