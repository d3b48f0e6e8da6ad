"""Load the tables of a Kaldi data directory, select utterances, and write it again.

In: a directory with utt2spk and any of text, utt2lang, utt2dur, utt2repeat, utt2num_samples, segments, wav.scp. Out: a
valid directory; it is written to a temporary one, validated, and moved into place, or left unchanged on failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zipperasr.atomic import atomic_files
from zipperasr.datadir.entry import read_table, write_lines
from zipperasr.datadir.validate import validate_data_dir

BY_UTTERANCE = ("utt2spk", "text", "utt2lang", "utt2dur", "utt2repeat", "utt2num_samples", "segments")
Table = dict[str, str]


@dataclass(frozen=True)
class DataDir:
    """A directory's tables by file name, without spk2utt."""

    tables: dict[str, Table]

    @classmethod
    def read(cls, directory: Path) -> DataDir:
        """Load a directory. Raises ValueError on a malformed table, FileNotFoundError without utt2spk."""
        names = [name for name in (*BY_UTTERANCE, "wav.scp") if (directory / name).is_file() or name == "utt2spk"]
        return cls({name: read_table(directory / name, may_be_empty=name == "text") for name in names})

    @property
    def utts(self) -> list[str]:
        return sorted(self.tables["utt2spk"])

    @property
    def by_speaker(self) -> dict[str, list[str]]:
        """The utterances of each speaker, both in C order."""
        found: dict[str, list[str]] = {}
        for utt in self.utts:
            found.setdefault(self.tables["utt2spk"][utt], []).append(utt)
        return dict(sorted(found.items()))

    def complete(self) -> set[str]:
        """Return the utterances that are in every table, with recordings in wav.scp."""
        utts = set.intersection(*(set(table) for name, table in self.tables.items() if name != "wav.scp"))
        audio = self.tables.get("wav.scp")
        return utts if audio is None else {utt for utt in utts if self._recording(utt) in audio}

    def select(self, utts: Iterable[str]) -> DataDir:
        """Return a directory of only these utterances, with their recordings."""
        utts = sorted(utts)
        recordings = dict.fromkeys(self._recording(utt) for utt in utts)
        keys = {name: recordings if name == "wav.scp" else utts for name in self.tables}
        return DataDir({name: {key: table[key] for key in keys[name]} for name, table in self.tables.items()})

    def write(self, directory: Path) -> None:
        """Replace the tables in `directory`; other files stay.

        Raises ValueError, with nothing changed, if the result would not be a valid data directory.
        """
        if not self.utts:
            raise ValueError(f"{directory}: no utterances would be left")
        speakers = {speaker: " ".join(utts) for speaker, utts in self.by_speaker.items()}
        with atomic_files(directory) as aside:
            for name, table in {**self.tables, "spk2utt": speakers}.items():
                write_lines(aside / name, (f"{key} {value}".rstrip(" ") for key, value in sorted(table.items())))
            try:
                validate_data_dir(aside, "wav.scp" in self.tables, "text" in self.tables, for_kaldi=False)
            except ValueError as error:
                raise ValueError(f"{error}; nothing is written".replace(str(aside), str(directory))) from error
        for name in {*BY_UTTERANCE, "wav.scp"} - self.tables.keys():
            (directory / name).unlink(missing_ok=True)  # left from before, and inconsistent with the new tables

    def with_segments(self, directory: Path) -> DataDir:
        """Return the same with a segments table, in which each utterance is a whole recording."""
        if "segments" in self.tables:
            return self
        if "utt2dur" not in self.tables:
            raise ValueError(f"{directory}: no segments, which another directory has, and no utt2dur to make them from")
        segments = {utt: f"{utt} 0.000 {seconds}" for utt, seconds in self.tables["utt2dur"].items()}
        return DataDir({**self.tables, "segments": segments})

    def _recording(self, utt: str) -> str:
        segments = self.tables.get("segments")
        return utt if segments is None else segments[utt].split()[0]
