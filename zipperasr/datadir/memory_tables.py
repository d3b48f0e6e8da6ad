"""The tables of a Kaldi data directory in memory, to be narrowed down and written again.

In: a directory with utt2spk and any of text, utt2lang, utt2dur, utt2repeat, utt2num_samples, segments, wav.scp. Out: a
valid one, or what was there before: it is written aside, validated, and moved into place.
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
    """A directory's tables by file name, spk2utt left out."""

    tables: dict[str, Table]

    @classmethod
    def read(cls, directory: Path) -> DataDir:
        """Raises ValueError with file and line on a malformed table, FileNotFoundError without utt2spk."""
        names = [name for name in (*BY_UTTERANCE, "wav.scp") if (directory / name).is_file() or name == "utt2spk"]
        return cls({name: read_table(directory / name, may_be_empty=name == "text") for name in names})

    @property
    def utts(self) -> list[str]:
        return sorted(self.tables["utt2spk"])

    @property
    def by_speaker(self) -> dict[str, list[str]]:
        """Utterances of each speaker, both in C order."""
        found: dict[str, list[str]] = {}
        for utt in self.utts:
            found.setdefault(self.tables["utt2spk"][utt], []).append(utt)
        return dict(sorted(found.items()))

    def complete(self) -> set[str]:
        """Utterances that every table has, and whose recording wav.scp has."""
        utts = set.intersection(*(set(table) for name, table in self.tables.items() if name != "wav.scp"))
        audio = self.tables.get("wav.scp")
        return utts if audio is None else {utt for utt in utts if self._recording(utt) in audio}

    def select(self, utts: Iterable[str]) -> DataDir:
        """Only these utterances, and the recordings that they need."""
        utts = sorted(utts)
        recordings = dict.fromkeys(self._recording(utt) for utt in utts)
        keys = {name: recordings if name == "wav.scp" else utts for name in self.tables}
        return DataDir({name: {key: table[key] for key in keys[name]} for name, table in self.tables.items()})

    def write(self, directory: Path) -> None:
        """Put these tables in place of those that are there; other files stay.

        Raises ValueError, with nothing changed, if they would be no valid data directory.
        """
        if not self.utts:
            raise ValueError(f"{directory}: no utterance would be left")
        speakers = {speaker: " ".join(utts) for speaker, utts in self.by_speaker.items()}
        with atomic_files(directory) as aside:
            for name, table in {**self.tables, "spk2utt": speakers}.items():
                write_lines(aside / name, (f"{key} {value}".rstrip(" ") for key, value in sorted(table.items())))
            try:
                validate_data_dir(aside, "wav.scp" in self.tables, "text" in self.tables, for_kaldi=False)
            except ValueError as error:
                raise ValueError(f"{error}; nothing is written".replace(str(aside), str(directory))) from error
        for name in {*BY_UTTERANCE, "wav.scp"} - self.tables.keys():
            (directory / name).unlink(missing_ok=True)  # of what was there before: it need not fit

    def with_segments(self, directory: Path) -> DataDir:
        """The same with a segments table: a recording for each utterance, from its start to its end."""
        if "segments" in self.tables:
            return self
        if "utt2dur" not in self.tables:
            raise ValueError(f"{directory}: no segments, which another directory has, and no utt2dur to make them from")
        segments = {utt: f"{utt} 0.000 {seconds}" for utt, seconds in self.tables["utt2dur"].items()}
        return DataDir({**self.tables, "segments": segments})

    def _recording(self, utt: str) -> str:
        segments = self.tables.get("segments")
        return utt if segments is None else segments[utt].split()[0]
