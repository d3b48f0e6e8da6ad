"""Manifests with one JSON object per line, such as those of NeMo and of Qwen3-ASR's fine-tuning.

`{"audio_filepath": "wav/a.flac", "offset": 1.5, "duration": 3.2, "text": "...", "lang": "de", "speaker": "s1"}`; other
names of the fields are in own_data.py. ROOT/[LANGUAGE/]SPLIT.jsonl.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from zipperasr.corpora.own_data import FIELDS, Format, names_another_language, utterance_of_fields
from zipperasr.corpora.utterance import Utterance
from zipperasr.text_lines import numbered_lines

Record = dict[str, Any] | ValueError
_IDS = frozenset(FIELDS["id"])


def _records(path: Path, language: str | None) -> Iterator[tuple[str, Record]]:
    name, decode = str(path), orjson.loads
    for number, line in numbered_lines(path):
        try:
            fields = decode(line)
            if isinstance(fields, dict) and not _IDS.isdisjoint(fields) and _has_float_id(fields):
                fields = json.loads(line)  # orjson reads integers beyond 64 bits as floats
        except orjson.JSONDecodeError:
            fields = _as_python_writes_it(line, f"{name}:{number}")
        if isinstance(fields, dict):
            if language is not None and names_another_language(fields, language):
                continue
        elif not isinstance(fields, ValueError):
            fields = ValueError(
                f'{name}:{number}: got {line[:40]!r}, wanted an object such as {{"audio": ..., "text": ...}}'
            )
        yield f"{name}:{number}", fields


def _has_float_id(fields: dict[str, Any]) -> bool:
    return any(type(fields.get(key)) is float for key in _IDS)


def _as_python_writes_it(line: str, where: str) -> Any:
    """Decode a line that is not JSON by the standard, such as one with NaN; return a ValueError if it is not at all."""
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        return ValueError(f"{where}: not JSON ({error}); wanted one object per line")


def _utterance(fields: Record, where: str, path: Path) -> Utterance:
    if isinstance(fields, ValueError):
        raise fields
    return utterance_of_fields(fields, where, path)


FORMAT = Format((".jsonl", ".json"), _records, _utterance)
read = FORMAT.read
