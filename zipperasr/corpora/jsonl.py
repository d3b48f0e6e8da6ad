"""Manifests with one JSON object per line, such as those of NeMo and of Qwen3-ASR's fine-tuning.

`{"audio_filepath": "wav/a.flac", "offset": 1.5, "duration": 3.2, "text": "...", "lang": "de", "speaker": "s1"}`; other
names of the fields are in own_data.py. ROOT/[LANGUAGE/]SPLIT.jsonl.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zipperasr.corpora.own_data import FIELDS, Format, names_another_language, utterance_of_fields
from zipperasr.corpora.utterance import Utterance
from zipperasr.text_lines import numbered_lines

_LANGUAGE = re.compile(rf'"(?:{"|".join(FIELDS["lang"])})": ?"([\w-]+)"')


def _records(path: Path, language: str | None) -> Iterator[tuple[str, dict[str, Any] | ValueError]]:
    name, decode = str(path), json.JSONDecoder().decode
    for number, line in numbered_lines(path):
        if language is not None and _is_other(line, language):
            continue
        where = f"{name}:{number}"
        try:
            fields = decode(line)
        except (json.JSONDecodeError, RecursionError) as error:
            fields = ValueError(f"{where}: not JSON ({error}); wanted one object per line")
        if not isinstance(fields, dict | ValueError):
            fields = ValueError(f'{where}: got {line[:40]!r}, wanted an object such as {{"audio": ..., "text": ...}}')
        yield where, fields


def _is_other(line: str, language: str) -> bool:
    """True if a line without nested objects names another language; five times as fast as decoding it."""
    found = _LANGUAGE.findall(line)
    return len(found) == 1 and line.count("{") == 1 and names_another_language({"lang": found[0]}, language)


def _utterance(fields: dict[str, Any] | ValueError, where: str, path: Path) -> Utterance:
    if isinstance(fields, ValueError):
        raise fields
    return utterance_of_fields(fields, where, path)


FORMAT = Format((".jsonl", ".json"), _records, _utterance)
read = FORMAT.read
