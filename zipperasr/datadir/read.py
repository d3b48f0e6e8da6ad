"""Read a data directory block by block, all tables in parallel.

In: a directory whose tables have the same order, as `validate_data_dir` requires. Out: blocks with the columns of
`ENTRIES`. If there is a segments table, wav.scp is kept in memory, one line per recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from zipperasr.datadir.arrow_blocks import blocks
from zipperasr.datadir.entry import ENTRIES, Entry, read_table
from zipperasr.text_lines import refuse_composed, refuse_pipe

BLOCK_ROWS = 1 << 13
COLUMN_OF = {
    "utt2spk": "speaker", "text": "text", "utt2lang": "language", "utt2dur": "duration_s", "utt2repeat": "repeat",
    "utt2num_samples": "num_samples", "wav.scp": "audio",
}  # fmt: skip
OPTIONAL = ("utt2repeat", "utt2num_samples")
REMEDY = "rerun the stage that wrote it, or utils/fix_data_dir"


def read_data_dir(directory: str | Path) -> list[Entry]:
    """Return all utterances of a small directory."""
    return [Entry(*row.values()) for block in read_blocks(directory) for row in block.to_pylist()]


def read_blocks(directory: str | Path, block_rows: int = BLOCK_ROWS) -> Iterator[pa.RecordBatch]:
    """Yield the utterances. Raises ValueError naming the table and the first id that differs from utt2spk."""
    directory = Path(directory)
    segmented = (directory / "segments").is_file()
    names = [name for name in COLUMN_OF if name not in OPTIONAL or (directory / name).is_file()]
    if segmented:
        names.remove("wav.scp")
        audio_of = read_table(directory / "wav.scp")
    tables = {name: _Table(directory / name) for name in (*names, *(["segments"] if segmented else []))}
    while len(utts := tables["utt2spk"].peek(block_rows)):
        values = {name: table.take(utts) for name, table in tables.items()}
        columns = {COLUMN_OF[name]: _typed(values[name], utts, directory / name) for name in names}
        if segmented:
            columns |= _cut(values["segments"], utts, audio_of, directory)
        columns["utt"] = utts
        columns.setdefault("repeat", pa.array([1] * len(utts), pa.int32()))
        _check_audio(columns["audio"], directory / "wav.scp")
        arrays = [_column(columns.get(field.name), field, len(utts)) for field in ENTRIES]
        yield pa.record_batch(arrays, schema=ENTRIES)
    for table in tables.values():
        table.check_end()


class _Table:
    """The lines of one file, read in the steps of utt2spk."""

    def __init__(self, path: Path):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; run the stage that writes it")
        self._path = path
        self._blocks = blocks(path)
        self._rows = pa.table({"key": pa.array([], pa.large_string()), "value": pa.array([], pa.large_string())})

    def peek(self, count: int) -> pa.Array:
        """Return the next `count` keys; fewer at the end of the file."""
        while len(self._rows) < count and (block := next(self._blocks, None)) is not None:
            self._rows = pa.concat_tables([self._rows, pa.table({"key": block.keys, "value": block.values})])
        return self._rows["key"][:count].combine_chunks()

    def take(self, keys: pa.Array) -> pa.Array:
        """Return the values of the next lines. Raises ValueError unless their keys are `keys`."""
        found = self.peek(len(keys))
        if not found.equals(keys):
            at = next((i for i in range(len(found)) if found[i] != keys[i]), len(found))
            got = repr(found[at].as_py()) if at < len(found) else "the end of the file"
            raise ValueError(f"{self._path}: got {got} where utt2spk has id {keys[at].as_py()!r}; {REMEDY}")
        values = self._rows["value"][: len(keys)].combine_chunks()
        self._rows = self._rows[len(keys) :]
        return values

    def check_end(self) -> None:
        left = self.peek(1)
        if len(left):
            raise ValueError(f"{self._path}: id {left[0].as_py()!r} is not in utt2spk; {REMEDY}")


def _typed(values: pa.Array, utts: pa.Array, path: Path) -> pa.Array:
    """Convert strings to the type of their column."""
    kind = ENTRIES.field(COLUMN_OF[path.name]).type
    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        for utt, value in zip(utts.to_pylist(), values.to_pylist(), strict=True):
            try:
                pa.array([value]).cast(kind)
            except pa.ArrowInvalid as error:
                raise ValueError(f"{path}: id {utt!r}: got {value!r}, wanted a number; {REMEDY}") from error
        raise


def _cut(segments: pa.Array, utts: pa.Array, audio_of: dict[str, str], directory: Path) -> dict[str, pa.Array]:
    """Return audio, start and end of rows `recording start end`."""
    rows = []
    for utt, segment in zip(utts.to_pylist(), segments.to_pylist(), strict=True):
        cells = segment.split()
        where = f"{directory / 'segments'}: id {utt!r}"
        try:
            recording, start_s, end_s = cells[0], float(cells[1]), float(cells[2])
        except (IndexError, ValueError) as error:
            raise ValueError(f"{where}: got {cells}, wanted recording, start, end; {REMEDY}") from error
        if recording not in audio_of:
            raise ValueError(f"{where}: recording {recording!r} is not in wav.scp; {REMEDY}")
        rows.append((audio_of[recording], start_s, end_s))
    audio, starts_s, ends_s = zip(*rows, strict=True)
    return {"audio": pa.array(audio), "start_s": pa.array(starts_s), "end_s": pa.array(ends_s)}


def _check_audio(audio: pa.Array, path: Path) -> None:
    """Raise ValueError for a command or a composed clip."""
    if pc.any(pc.match_substring_regex(audio, r"^\s*\||\|\s*$|^\[[\[\"]")).as_py():
        for entry in audio.to_pylist():
            refuse_composed(refuse_pipe(entry, str(path)), str(path))


def _column(values: pa.Array | None, field: pa.Field, count: int) -> pa.Array:
    return pa.nulls(count, field.type) if values is None else values.cast(field.type)
