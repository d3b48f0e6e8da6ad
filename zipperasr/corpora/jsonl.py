"""Manifests with one JSON object per line, such as those of NeMo and of Qwen3-ASR's fine-tuning.

`{"audio_filepath": "wav/a.flac", "offset": 1.5, "duration": 3.2, "text": "...", "lang": "de", "speaker": "s1"}`; other
names of the fields are in own_data.py. ROOT/[LANGUAGE/]SPLIT.jsonl.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from zipperasr.corpora.own_data import Format, utterance_of_fields
from zipperasr.corpora.utterance import Utterance
from zipperasr.text_lines import numbered_lines


def _records(path: Path) -> Iterator[tuple[str, str]]:
    name = str(path)
    return ((f"{name}:{number}", line) for number, line in numbered_lines(path))


def _utterance(line: str, where: str, path: Path) -> Utterance:
    try:
        fields = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error}); wanted one object per line") from error
    if not isinstance(fields, dict):
        raise ValueError(f'{where}: got {line[:40]!r}, wanted an object such as {{"audio": ..., "text": ...}}')
    return utterance_of_fields(fields, where, path)


FORMAT = Format((".jsonl", ".json"), _records, _utterance)
read = FORMAT.read
