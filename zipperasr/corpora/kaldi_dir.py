"""Data directories of Kaldi and ESPnet, those that stage 1 or 2 of a recipe wrote included.

ROOT/[LANGUAGE/]SPLIT/ with wav.scp and text; segments, utt2spk, utt2lang and utt2dur if they exist. wav.scp names audio
files or entries of arks; commands (`sph2pipe ... |`) are refused. A relative path may start at the directory or at any
of its parents, such as the recipe that wrote it: the first recording that exists decides for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zipperasr.corpora.own_data import DIRECTORY, Format, language_code, speaker_name
from zipperasr.corpora.parallel_table import ParallelTable
from zipperasr.corpora.utterance import Utterance
from zipperasr.text_lines import check_duration_s, check_id, is_composed, numbered_lines, refuse_composed, refuse_pipe


class _Row(NamedTuple):
    """What the tables have for one utterance."""

    utt: str
    audio: str | None
    times: str | None  # `start end`, in seconds
    text: str
    speaker: str | None
    language: str | None
    duration: str | None
    is_ours: bool  # stage 1 wrote the directory


def _records(path: Path, _language: str | None) -> Iterator[tuple[str, _Row]]:
    tables = {name: ParallelTable(_lines(path / name)) for name in ("text", "utt2spk", "utt2lang", "utt2dur")}
    segments, recordings = path / "segments", _Recordings(path / "wav.scp")
    is_ours = (path / "utt2repeat").is_file()
    for name in ("wav.scp", "text"):
        if not (path / name).is_file():
            raise ValueError(f"{path / name}: no such file; is this a data directory of Kaldi?")
    main, of_recording = path / "wav.scp", None
    if segments.is_file():
        main, of_recording = segments, dict(_lines(path / "wav.scp"))
    for number, utt, value in _rows(main):
        audio, times = value, None
        if of_recording is not None:
            recording, _, times = value.partition(" ")
            audio = of_recording.get(recording)
        text, speaker, language, duration = (table.get(utt) for table in tables.values())
        audio = audio and recordings.resolve(audio)
        yield f"{main}:{number}", _Row(utt, audio, times, text or "", speaker, language, duration, is_ours)
    for utt in tables["text"].rest():
        yield str(path / "text"), _Row(utt, None, None, "", None, None, None, is_ours)


def _utterance(row: _Row, where: str, path: Path) -> Utterance:
    if not row.audio:
        raise ValueError(f"{where}: {row.utt!r}: no recording in {path / 'wav.scp'}; correct the line")
    audio = refuse_composed(refuse_pipe(row.audio, where), where)
    start_s = end_s = duration_s = None
    try:
        if row.times is not None:
            start_s, end_s = map(float, row.times.split()[:2])
            end_s = None if end_s < 0 else end_s  # -1: the end of the recording
            duration_s = None if end_s is None else check_duration_s(end_s - start_s, where)
        elif row.duration is not None:
            duration_s = check_duration_s(float(row.duration), where)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {row.utt!r}: got times {row.times or row.duration!r}, wanted seconds") from error
    speaker = speaker_name(row.speaker or row.utt, where)
    utt_id = row.utt.removeprefix(f"{speaker}-") if row.is_ours else row.utt  # stage 1 puts the speaker first
    lang_code = language_code(row.language, where) if row.language else ""
    return Utterance(check_id(utt_id, where), speaker, audio, row.text, lang_code, start_s, end_s, duration_s)


class _Recordings:
    """Finds the directory at which the relative paths of a wav.scp start."""

    def __init__(self, scp: Path):
        folder = scp.resolve().parent
        self._folders = [folder, *folder.parents]
        self._start: Path | None = None

    def resolve(self, entry: str) -> str:
        """Return an entry with an absolute path; what will be refused is left as it is."""
        if entry.startswith(("/", "|")) or entry.endswith("|") or is_composed(entry):
            return entry
        if self._start is None:
            file = entry.rpartition(":")[0] or entry
            found = (folder for folder in self._folders if (folder / entry).is_file() or (folder / file).is_file())
            self._start = next(found, None)
        return f"{self._start or Path.cwd()}/{entry}"


def _rows(table: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, key, value) of a table; nothing if it does not exist."""
    for number, line in numbered_lines(table) if table.is_file() else ():
        key, _, value = line.strip(" \t").replace("\t", " ").partition(" ")
        yield number, key, value.strip(" ")


def _lines(table: Path) -> Iterator[tuple[str, str]]:
    return ((key, value) for _, key, value in _rows(table))


FORMAT = Format(DIRECTORY, _records, _utterance)
read = FORMAT.read
