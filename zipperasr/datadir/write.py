"""Write the tables of a Kaldi data directory from sorted blocks, in one pass, with one block in memory.

In: blocks with the columns of `ENTRIES`, sorted by utt. Out: text utt2spk spk2utt utt2lang
utt2dur utt2repeat wav.scp; segments if audio files have several utterances; utt2num_samples if known.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zipperasr.atomic import atomic_path
from zipperasr.datadir.entry import ENTRIES, Entry
from zipperasr.text_lines import NOT_IN_ID


@dataclass
class Totals:
    """Number and duration of the utterances written."""

    utterances: int = 0
    seconds: float = 0.0
    seconds_with_repeats: float = 0.0


def write_data_dir(directory: str | Path, entries: Iterable[Entry]) -> None:
    """Write or replace a whole directory from entries in any order. Raises the errors of `write_tables`."""
    rows = sorted(entries, key=itemgetter(0))
    columns = [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), ENTRIES, strict=True)]
    with atomic_path(directory) as temporary:
        temporary.mkdir()
        segmented = any(row.start_s is not None for row in rows)
        write_tables(temporary, [pa.record_batch(columns, schema=ENTRIES)], segmented, directory)


def write_tables(
    directory: Path, blocks: Iterable[pa.RecordBatch], segmented: bool, name: str | Path | None = None
) -> Totals:
    """Write all tables into an existing directory.

    Args:
        segmented: whether some rows have a start.
        name: the directory's name in errors.

    Raises ValueError on a repeated id, and on speakers that do not sort like their utterances.
    """
    totals, sort_check, speakers, recordings = Totals(), _SortCheck(name or directory), _SpeakerLines(), _Recordings()
    with ExitStack() as stack:

        def write(table: str, lines: pa.Array) -> None:
            if table not in streams:
                streams[table] = stack.enter_context((directory / table).open("wb"))
            streams[table].write(_bytes_of(lines))

        streams = {}
        for block in blocks:
            sort_check(block)
            utt = block["utt"]
            for table, values in _values_by_utterance(block).items():
                write(table, _join(utt, " ", values, "\n"))
            write("spk2utt", speakers.lines(block))
            if segmented:
                write("segments", _join(utt, " ", recordings.segments(block), "\n"))
            else:
                write("wav.scp", _join(utt, " ", block["audio"], "\n"))
            _add(totals, block)
        if totals.utterances:
            write("spk2utt", pa.array(["\n"]))
        if segmented:
            write("wav.scp", recordings.lines())
    return totals


def _values_by_utterance(block: pa.RecordBatch) -> dict[str, pa.Array]:
    values = {
        "text": block["text"],
        "utt2spk": block["speaker"],
        "utt2lang": block["language"],
        "utt2dur": pa.array([f"{seconds:.3f}" for seconds in block["duration_s"].to_pylist()]),
        "utt2repeat": block["repeat"].cast(pa.string()),
    }
    if not block["num_samples"].null_count:
        values["utt2num_samples"] = block["num_samples"].cast(pa.string())
    return values


def _add(totals: Totals, block: pa.RecordBatch) -> None:
    seconds = block["duration_s"].to_numpy()
    totals.utterances += len(block)
    totals.seconds += float(seconds.sum())
    totals.seconds_with_repeats += float((seconds * block["repeat"].to_numpy()).sum())


def _join(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _bytes_of(lines: pa.Array) -> memoryview:
    """Return the concatenated strings: the memory of an Arrow array."""
    if not len(lines):
        return memoryview(b"")
    _, offsets, data = lines.buffers()
    offsets = np.frombuffer(offsets, dtype=np.int32)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(data)[offsets[0] : offsets[-1]]


class _SortCheck:
    """Checks that ids differ and speakers are in the order of their utterances, as in Kaldi, also across blocks."""

    def __init__(self, directory: str | Path):
        self._directory = directory
        self._last: pa.RecordBatch | None = None

    def __call__(self, block: pa.RecordBatch) -> None:
        rows = block.select(["utt", "speaker", "audio"])
        if self._last is not None:
            rows = pa.Table.from_batches([self._last, rows]).combine_chunks().to_batches()[0]
        self._last = rows[len(rows) - 1 :]
        before, after = rows[: len(rows) - 1], rows[1:]
        self._refuse(before, after, pc.equal(before["utt"], after["utt"]), self._twice)
        self._refuse(before, after, pc.greater(before["speaker"], after["speaker"]), self._unsortable)

    @staticmethod
    def _refuse(before: pa.RecordBatch, after: pa.RecordBatch, wrong: pa.Array, message) -> None:
        at = pc.index(wrong, True).as_py()
        if at >= 0:
            raise ValueError(message(before.slice(at, 1).to_pylist()[0], after.slice(at, 1).to_pylist()[0]))

    def _twice(self, before: dict, row: dict) -> str:
        return f"{self._directory}: id {row['utt']!r} is repeated ({before['audio']}, {row['audio']}); remove one"

    def _unsortable(self, before: dict, row: dict) -> str:
        return (
            f"{self._directory}: speakers {before['speaker']!r} and {row['speaker']!r} sort unlike their utterances "
            f"{before['utt']!r} and {row['utt']!r}; give speakers names of equal length"
        )


class _SpeakerLines:
    """Lines of spk2utt, `speaker utt utt ...`, which may continue in the next block."""

    def __init__(self):
        self._last: str | None = None

    def lines(self, block: pa.RecordBatch) -> pa.Array:
        speaker = block["speaker"]
        before = pa.concat_arrays([pa.array([self._last], pa.string()), speaker[: len(speaker) - 1]])
        first = pc.fill_null(pc.not_equal(before, speaker), True)
        heads = _join("\n", speaker, " ")
        if self._last is None:  # the first line of the file
            heads = pa.concat_arrays([_join(speaker[:1], " "), heads[1:]])
        self._last = speaker[-1].as_py()
        return _join(pc.if_else(first, heads, " "), block["utt"])


class _Recordings:
    """Names of audio files with several utterances: without suffix, and with directories where others have the same."""

    def __init__(self):
        self._audio_of: dict[str, str] = {}
        self._name_of: dict[str, str] = {}

    def segments(self, block: pa.RecordBatch) -> pa.Array:
        """Return `recording start end` of each row."""
        columns = (block[name].to_pylist() for name in ("audio", "start_s", "end_s", "duration_s"))
        return pa.array(
            [
                f"{self._name(audio)} {start_s or 0:.3f} {end_s if end_s is not None else duration_s:.3f}"
                for audio, start_s, end_s, duration_s in zip(*columns, strict=True)
            ]
        )

    def lines(self) -> pa.Array:
        """Return the lines of wav.scp for all recordings with segments."""
        return pa.array([f"{name} {audio}\n" for name, audio in sorted(self._audio_of.items())], pa.string())

    def _name(self, audio: str) -> str:
        if audio not in self._name_of:
            path = Path(audio)
            number = f"_{path.suffix.rpartition(':')[2]}" if ":" in path.suffix else ""  # entry of an ark, or row
            parents, name = list(path.parent.parts), NOT_IN_ID.sub("_", path.stem) + number
            while name in self._audio_of:
                name = f"{NOT_IN_ID.sub('_', parents.pop()) if parents else ''}_{name}"
            self._name_of[audio], self._audio_of[name] = name, audio
        return self._name_of[audio]
