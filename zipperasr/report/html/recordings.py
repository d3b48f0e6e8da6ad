"""Durations and audio of utterances, from stage 2's output.

In: dump/raw/<set>/{utt2dur,wav.scp}. Out: values by id; <page>_audio/<set>/<id>.flac, byte for byte as stage 2 wrote
them, since browsers play flac. Audio of an earlier report is kept if ids and wav.scp are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.audio.ark import audio_bytes, split_entry
from zipperasr.datadir.entry import key_and_value
from zipperasr.text_lines import numbered_lines, refuse_pipe

FLAC_MARK = b"fLaC"
COPYING = 1  # increase it when the same wav.scp would give other files


class SortedTable:
    """A sorted Kaldi table, read in step with other sorted tables: keys must be requested in ascending order."""

    def __init__(self, path: Path):
        self._path = path
        self._lines = numbered_lines(path)
        self._key, self._value = "", ""

    def value(self, key: str) -> str:
        """The value of `key`, which sorts after all keys requested before. Raises ValueError if there is none."""
        while self._key < key:
            _, line = next(self._lines, (0, None))
            if line is None:
                break
            self._key, self._value = key_and_value(line)
        if self._key != key:
            raise ValueError(f"{self._path}: no line for id {key!r} in the order of ids; sort it, or rerun stage 2")
        return self._value

    def number(self, key: str) -> float:
        """The value of `key` as a finite number of at least 0."""
        text = self.value(key)
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0.0 <= number < float("inf"):
            raise ValueError(f"{self._path}: id {key!r}: got {text!r}, wanted a number; rerun stage 2")
        return number


def copy_audio(wav_scp: Path, ids: Sequence[str], directory: Path) -> None:
    """Write `directory`/<id>.flac for each id. Raises OSError or ValueError if an entry cannot be read."""
    ids = sorted(ids)
    inputs = fingerprint(wav_scp=wav_scp, ids=ids, copying=COPYING)
    if is_current(directory, inputs):
        return
    entries = SortedTable(wav_scp)
    with atomic_path(directory) as temporary:
        temporary.mkdir()
        for utt in ids:
            (temporary / f"{utt}.flac").write_bytes(flac_bytes(entries.value(utt), f"{wav_scp}: id {utt!r}"))
        mark_current(temporary, inputs)


def flac_bytes(entry: str, where: str) -> bytes:
    """The flac file that an entry of wav.scp names: `path.ark:offset` or a path."""
    name, offset = split_entry(refuse_pipe(entry, where))
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"{where}: {path} not found; rerun stage 2, or write the report with --audio none")
    with path.open("rb") as stream:
        data = stream.read() if offset is None else audio_bytes(stream, offset, where)
    if not data.startswith(FLAC_MARK):
        raise ValueError(f"{where}: got {data[:4]!r} at {entry}, wanted a flac file; rerun stage 2")
    return data
