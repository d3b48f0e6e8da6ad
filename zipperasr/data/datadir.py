"""Kaldi data directories: reading tables with errors that name file and line, and writing whole directories.

In: `Entry`, one per utterance. Out: wav.scp text utt2spk spk2utt utt2lang utt2dur utt2repeat, and segments where
audio files hold several utterances, all in C order. An utterance id starts with its speaker (Kaldi's sorting).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from zipperasr.atomic import atomic_path
from zipperasr.corpora.utterance import numbered_lines


class Entry(NamedTuple):
    """One utterance of a data directory."""

    utt: str  # SPEAKER-ORIGINAL_ID
    speaker: str
    audio: str  # path, or an entry of an ark
    text: str
    language: str
    duration_s: float
    repeat: int = 1  # how often the authors' list names it
    start_s: float | None = None
    end_s: float | None = None


def key_and_value(line: str) -> tuple[str, str]:
    """The first word and the rest, which may be empty. Kaldi's blanks, spaces and tabs, part them and are stripped."""
    line = line.strip(" \t")
    key, _, value = line.partition(" ")
    if "\t" in key:
        key, _, value = line.partition("\t")
    return key, value.lstrip(" \t")


def read_table(path: str | Path, may_be_empty: bool = False) -> dict[str, str]:
    """`key rest of the line` -> {key: rest}. Raises ValueError on a missing file, a second key or an empty value.

    `may_be_empty`: a key alone has the value "", as an utterance in which nothing is said has in text.
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
            raise ValueError(f"{path}:{number}: {key!r} stands here a second time; keep one line")
        table[key] = rest
    return table


def read_data_dir(directory: str | Path) -> list[Entry]:
    """All utterances of a directory, in its order. Raises ValueError if a table lacks one."""
    directory = Path(directory)
    names = ("text", "utt2spk", "utt2lang", "utt2dur")
    tables = {name: read_table(directory / name, may_be_empty=name == "text") for name in names}
    repeats = read_table(directory / "utt2repeat") if (directory / "utt2repeat").is_file() else {}
    audio = read_table(directory / "wav.scp")
    segments = read_table(directory / "segments") if (directory / "segments").is_file() else None
    entries = []
    for utt, speaker in tables["utt2spk"].items():
        start_s = end_s = None
        recording = utt
        if segments is not None:
            recording, start_s, end_s = _segment(segments, utt, directory)
        for name, table in (*tables.items(), ("wav.scp", audio)):
            key = recording if name == "wav.scp" else utt
            if key not in table:
                raise ValueError(f"{directory / name}: id {key!r} of utt2spk is not in it; rerun stage 1")
        entry = Entry(
            utt, speaker, audio[recording], tables["text"][utt], tables["utt2lang"][utt],
            float(tables["utt2dur"][utt]), int(repeats.get(utt, 1)), start_s, end_s,
        )  # fmt: skip
        entries.append(entry)
    return entries


def write_data_dir(directory: str | Path, entries: Iterable[Entry]) -> None:
    """Write (or replace) a whole directory at once. Raises ValueError on a second id or unsortable speakers."""
    rows = sorted(entries, key=itemgetter(0))
    _check_sortable(rows, Path(directory))
    with atomic_path(directory) as temporary:
        temporary.mkdir()
        for name, lines in tables_of(rows).items():
            write_lines(temporary / name, lines)


def tables_of(rows: list[Entry]) -> dict[str, Iterator[str]]:
    """File name -> its lines, for rows in C order."""
    tables = {
        "text": (f"{row.utt} {row.text}" for row in rows),
        "utt2spk": (f"{row.utt} {row.speaker}" for row in rows),
        "spk2utt": _spk2utt(rows),
        "utt2lang": (f"{row.utt} {row.language}" for row in rows),
        "utt2dur": (f"{row.utt} {row.duration_s:.3f}" for row in rows),
        "utt2repeat": (f"{row.utt} {row.repeat}" for row in rows),
    }
    if any(row.start_s is not None for row in rows):
        recordings = _recordings(rows)
        tables["wav.scp"] = (f"{name} {audio}" for audio, name in sorted(recordings.items(), key=lambda item: item[1]))
        tables["segments"] = (
            f"{row.utt} {recordings[row.audio]} {row.start_s or 0:.3f} "
            f"{row.end_s if row.end_s is not None else row.duration_s:.3f}"
            for row in rows
        )
    else:
        tables["wav.scp"] = (f"{row.utt} {row.audio}" for row in rows)
    return tables


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, each line ended."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(line + "\n" for line in lines)


def _spk2utt(rows: list[Entry]) -> Iterator[str]:
    by_speaker: dict[str, list[str]] = {}
    for row in rows:
        by_speaker.setdefault(row.speaker, []).append(row.utt)
    return (f"{speaker} {' '.join(utts)}" for speaker, utts in sorted(by_speaker.items()))


def _recordings(rows: list[Entry]) -> dict[str, str]:
    """Audio path -> recording id, which is the file's name without suffix."""
    names: dict[str, str] = {}
    for audio in dict.fromkeys(row.audio for row in rows):
        name = Path(audio).stem
        if name in names:
            raise ValueError(f"{audio}: {names[name]} has the same name; recordings of one set need different names")
        names[name] = audio
    return {audio: name for name, audio in names.items()}


def _check_sortable(rows: list[Entry], directory: Path) -> None:
    for before, row in pairwise(rows):
        if before.utt == row.utt:
            raise ValueError(f"{directory}: id {row.utt!r} comes twice ({before.audio} and {row.audio}); remove one")
        if before.speaker > row.speaker:
            raise ValueError(
                f"{directory}: speakers {before.speaker!r} and {row.speaker!r} do not sort as their utterances "
                f"{before.utt!r} and {row.utt!r} do; give speakers names of equal length"
            )


def _segment(segments: dict[str, str], utt: str, directory: Path) -> tuple[str, float, float]:
    cells = segments.get(utt, "").split()
    if len(cells) != 3:
        raise ValueError(f"{directory / 'segments'}: id {utt!r}: got {cells}, wanted recording, start, end")
    return cells[0], float(cells[1]), float(cells[2])
