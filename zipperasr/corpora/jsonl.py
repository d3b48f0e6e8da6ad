"""Manifests with one JSON object per line, such as those of NeMo and of Qwen3-ASR's fine-tuning.

`{"audio_filepath": "wav/a.flac", "offset": 1.5, "duration": 3.2, "text": "...", "lang": "de", "speaker": "s1"}`; other
names of the fields are in own_data.py. ROOT/[LANGUAGE/]SPLIT.jsonl.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zipperasr.corpora.own_data import Format, names_another_language, utterance_of_fields
from zipperasr.corpora.utterance import Utterance
from zipperasr.text_lines import numbered_lines


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any] | ValueError]]:
    name, decode = str(path), json.JSONDecoder().decode
    for number, line in numbered_lines(path):
        where = f"{name}:{number}"
        try:
            fields = decode(line)
        except (json.JSONDecodeError, RecursionError) as error:
            fields = ValueError(f"{where}: not JSON ({error}); wanted one object per line")
        if not isinstance(fields, dict | ValueError):
            fields = ValueError(f'{where}: got {line[:40]!r}, wanted an object such as {{"audio": ..., "text": ...}}')
        yield where, fields


def _utterance(fields: dict[str, Any] | ValueError, where: str, path: Path) -> Utterance:
    if isinstance(fields, ValueError):
        raise fields
    return utterance_of_fields(fields, where, path)


def _is_other(fields: dict[str, Any] | ValueError, language: str) -> bool:
    return isinstance(fields, dict) and names_another_language(fields, language)


FORMAT = Format((".jsonl", ".json"), _records, _utterance, _is_other)
read = FORMAT.read
