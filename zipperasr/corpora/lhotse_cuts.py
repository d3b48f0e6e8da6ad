"""CutSets of lhotse: ROOT/[LANGUAGE/]SPLIT.jsonl[.gz]. Each supervision of a cut is one utterance.

The recordings must be mono audio files on disk, without transforms such as a change of speed.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from zipperasr.corpora.own_data import Format, language_code, name_of_audio, resolve_audio, speaker_name
from zipperasr.corpora.utterance import Utterance
from zipperasr.text_lines import check_id, check_text

if TYPE_CHECKING:
    from lhotse import MonoCut, SupervisionSegment

    Record = ValueError | tuple[MonoCut, SupervisionSegment]

_SAME_S = 1e-3  # a cut with the recording's duration is the whole file


def _records(path: Path, _language: str | None) -> Iterator[tuple[str, Record]]:
    if find_spec("lhotse") is None:
        raise ValueError(f"{path}: lhotse, which reads CutSets, is not installed; run pip install -e '.[lhotse]'")
    for where, line in _lines(path):
        try:
            cut = _cut(line)
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError) as error:
            yield where, ValueError(f"{where}: not a cut that lhotse reads ({error}); write the CutSet again")
            continue
        if not cut.supervisions:
            yield where, ValueError(f"{where}: cut {cut.id!r} has no supervision; add its text")
        yield from ((where, (cut, supervision)) for supervision in cut.supervisions)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if not line.isspace():
                    yield f"{path}:{number}", line
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}:{number + 1}: cannot be read ({error}); write the CutSet again") from error


def _cut(line: str) -> MonoCut:
    from lhotse import MonoCut
    from lhotse.serialization import deserialize_item

    cut = deserialize_item(json.loads(line))
    if not isinstance(cut, MonoCut):
        raise ValueError(f"got {type(cut).__name__}, wanted MonoCut")
    return cut


def _utterance(record: Record, where: str, path: Path) -> Utterance:
    if isinstance(record, ValueError):
        raise record
    cut, supervision = record
    recording = cut.recording
    source = recording.sources[0] if recording is not None and len(recording.sources) == 1 else None
    if source is None or source.type != "file":
        raise ValueError(f"{where}: cut {cut.id!r}: wanted a recording in one audio file; write one with save_audios")
    if recording.transforms:
        raise ValueError(f"{where}: cut {cut.id!r}: the recording has transforms; write it with save_audios")
    if recording.num_channels != 1:
        raise ValueError(
            f"{where}: cut {cut.id!r}: channel {cut.channel} of {recording.num_channels}; write one file per channel"
        )
    audio = resolve_audio(str(source.source), where, path)
    start_s, duration_s = cut.start + supervision.start, min(supervision.duration, cut.duration - supervision.start)
    if duration_s <= 0:
        raise ValueError(f"{where}: supervision {supervision.id!r} has no duration inside its cut; correct it")
    whole = start_s < _SAME_S and abs(duration_s - recording.duration) < _SAME_S
    speaker = supervision.speaker or name_of_audio(audio, path)
    return Utterance(
        check_id(supervision.id, where),
        speaker_name(speaker, where),
        audio,
        check_text(supervision.text or "", where),
        language_code(supervision.language, where) if supervision.language else "",
        None if whole else start_s,
        None if whole else start_s + duration_s,
        duration_s,
    )


FORMAT = Format((".jsonl.gz", ".jsonl"), _records, _utterance)
read = FORMAT.read
