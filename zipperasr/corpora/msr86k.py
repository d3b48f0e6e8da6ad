"""MSR-86K: YouTube speech with one archive and one metadata file per language; splits train and dev.

The release is gated and its users store the metadata in several formats. Four are supported, at
LANGUAGE/{SPLIT.EXT,SPLIT/metadata.EXT}: json (recordings and segments, see recordings_json), jsonl and tsv (one
utterance per line: id, audio, text, optionally duration), or a Kaldi LANGUAGE/SPLIT/text with or without wav.scp.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from zipperasr.cli import log
from zipperasr.corpora.recordings_json import iter_recordings, segment_times, segments_of, text_of
from zipperasr.corpora.utterance import Utterance, require_directory
from zipperasr.text_lines import check_duration_s, check_id, check_text, numbered_lines, refuse_pipe

SUFFIXES = (".wav", ".flac", ".opus", ".mp3", ".m4a")
ALIASES = {  # column names in use
    "id": ("id", "utt_id", "utt", "key", "sid"),
    "audio": ("audio", "audio_filepath", "audio_path", "wav", "path"),
    "text": ("text", "txt", "sentence", "transcript"),
    "duration": ("duration", "duration_s", "dur"),
}
REMEDY = "ask for access at huggingface.co/datasets/Alex-Song/MSR-86K, unpack LANGUAGE/ and its metadata"


def read(root: Path, language: str, split: str) -> Iterator[Utterance]:
    """Yield the split's utterances; the recording is used as the speaker."""
    require_directory(root, REMEDY)
    folder = require_directory(root / language, REMEDY)
    candidates = [
        (folder / stem.format(split=split), reader)
        for extension, reader in FORMS.items()
        for stem in ("{split}." + extension, "{split}/metadata." + extension)
    ] + [(folder / split / "text", _read_kaldi)]
    for path, reader in candidates:
        if path.is_file():
            log(f"msr86k {language} {split}: metadata format of {path.name}: {path}")
            yield from reader(path, folder, language, split)
            return
    raise ValueError(
        f"{folder}: none of {', '.join(str(path.relative_to(folder)) for path, _ in candidates)} exists; {REMEDY}"
    )


def _read_json(path: Path, folder: Path, language: str, split: str) -> Iterator[Utterance]:
    finder = _AudioFinder(folder, split)
    for recording in iter_recordings(path):
        aid = check_id(str(recording.get("aid", "")), f"{path}: a recording's aid")
        audio = finder.find(str(recording.get("path") or aid), f"{path}: recording {aid}")
        for segment in segments_of(recording, f"{path}: recording {aid}"):
            sid = check_id(str(segment.get("sid", "")), f"{path}: recording {aid}: sid")
            begin_s, end_s = segment_times(segment, f"{path}: segment {sid}")
            text = text_of(segment, ("text_tn", "text"), f"{path}: segment {sid}")
            yield Utterance(sid, aid, str(audio), text, language, begin_s, end_s, end_s - begin_s)


def _read_jsonl(path: Path, folder: Path, language: str, split: str) -> Iterator[Utterance]:
    finder = _AudioFinder(folder, split)
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        try:
            fields = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{where}: not JSON ({error}); wanted one object per line") from error
        if not isinstance(fields, dict):
            raise ValueError(f"{where}: got {line[:40]!r}, wanted one object per line")
        yield _utterance(fields, finder, language, where)


def _read_tsv(path: Path, folder: Path, language: str, split: str) -> Iterator[Utterance]:
    finder = _AudioFinder(folder, split)
    lines = numbered_lines(path)
    header = next(lines, (1, ""))[1].split("\t")
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) != len(header):
            raise ValueError(f"{path}:{number}: got {len(cells)} cells, wanted {len(header)} as in the header")
        yield _utterance(dict(zip(header, cells, strict=True)), finder, language, f"{path}:{number}")


def _read_kaldi(path: Path, folder: Path, language: str, split: str) -> Iterator[Utterance]:
    finder = _AudioFinder(folder, split)
    scp = path.with_name("wav.scp")
    audio_of = _audio_of(scp)
    for number, line in numbered_lines(path):
        utt_id, _, text = line.partition(" ")
        fields = {"id": utt_id, "audio": audio_of.get(utt_id, utt_id), "text": text}
        yield _utterance(fields, finder, language, f"{path}:{number}")


def _audio_of(scp: Path) -> dict[str, str]:
    audio_of = {}
    for number, line in numbered_lines(scp) if scp.is_file() else ():
        utt_id, _, audio = line.partition(" ")
        if not audio.strip():
            raise ValueError(f"{scp}:{number}: got {line[:60]!r}, wanted id and audio file")
        audio_of[utt_id] = refuse_pipe(audio.strip(), f"{scp}:{number}")
    return audio_of


FORMS: dict[str, Callable[[Path, Path, str, str], Iterator[Utterance]]] = {
    "json": _read_json,
    "jsonl": _read_jsonl,
    "tsv": _read_tsv,
}


def _utterance(fields: dict[str, Any], finder: _AudioFinder, language: str, where: str) -> Utterance:
    found = {
        name: next((fields[alias] for alias in aliases if fields.get(alias) not in (None, "")), None)
        for name, aliases in ALIASES.items()
    }
    if found["id"] is None:
        raise ValueError(f"{where}: got columns {list(fields)[:8]}, wanted one of {', '.join(ALIASES['id'])}")
    utt_id = check_id(str(found["id"]), where)
    audio = finder.find(str(found["audio"] or utt_id), where)
    recording = check_id(str(fields.get("aid") or audio.stem.rpartition("_")[0] or audio.stem), where)
    try:
        duration_s = None if found["duration"] is None else check_duration_s(float(found["duration"]), where)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: got duration {found['duration']!r}, wanted seconds") from error
    return Utterance(
        utt_id, recording, str(audio), check_text(str(found["text"] or ""), where), language, duration_s=duration_s
    )


class _AudioFinder:
    """Finds audio in LANGUAGE/SPLIT, LANGUAGE/SPLIT/{wav,audio} or LANGUAGE; the first file decides for all."""

    def __init__(self, folder: Path, split: str):
        self._folders = [folder / split, folder / split / "wav", folder / split / "audio", folder, folder / "wav"]
        self._folder = folder
        self._found: tuple[Path, str] | None = None

    def find(self, name: str, where: str) -> Path:
        path = Path(check_text(name, where))
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{where}: got audio {name!r}, wanted a path below {self._folder}")
        suffixes = ("",) if path.suffix in SUFFIXES else SUFFIXES
        if self._found is None:
            self._found = next(
                (
                    (parent, suffix)
                    for parent in self._folders
                    for suffix in suffixes
                    if (parent / (name + suffix)).is_file()
                ),
                (self._folders[0], suffixes[0]),
            )
        parent, suffix = self._found
        return parent / (name + suffix)
