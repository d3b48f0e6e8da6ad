"""Files of Hugging Face's datasets: Arrow streams and Parquet, with audio files in a column {bytes, path}.

An entry of wav.scp names a row, counted from 0: `data-00000-of-00002.arrow:000000017`; with leading zeros, because
stage 2 sorts entries and rows are read fastest in order. Arrow files are mapped into memory, Parquet files are read by
row group. pyarrow is imported where it is used: models need none of this.
"""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import accumulate, groupby
from threading import Lock
from typing import TYPE_CHECKING

from zipperasr.corpora.own_data import FIELDS

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = ARROW, PARQUET = (".arrow", ".parquet")
BYTES, PATH = "bytes", "path"  # of the audio column; bytes are null if the audio is a file of its own
MAX_GROUP_BYTES = 1 << 30  # of audio in a row group; datasets writes 100 rows
REMEDY = "write the data set again"
_BLOCK_ROWS = 4096
_OPEN_FILES, _ROW_GROUPS = 4, 2  # in the cache of a process; stage 2 opens a few rows ahead, of the next row group too
_LOCK = Lock()  # threads of a process read one row group once

Block = tuple["pa.RecordBatch", Sequence[bool]]  # rows, and which of them hold an audio file


def is_table(path: str) -> bool:
    """True for the name of a file that this module reads."""
    return path.endswith(SUFFIXES)


def entry_of(path: str, row: int) -> str:
    """The entry of wav.scp of a row."""
    return f"{path}:{row:09d}"


def column_of(schema: pa.Schema, field: str) -> str | None:
    """The column with a field of own_data.py; of several names for it, the first."""
    return next((name for name in FIELDS[field] if name in schema.names), None)


def holds_files(kind: pa.DataType) -> bool:
    """True for a column that may hold audio files."""
    import pyarrow as pa

    if not (pa.types.is_struct(kind) and kind.get_field_index(BYTES) >= 0 and kind.get_field_index(PATH) >= 0):
        return False
    found = kind.field(BYTES).type
    return pa.types.is_binary(found) or pa.types.is_large_binary(found) or pa.types.is_null(found)


@contextmanager
def located(where: str) -> Iterator[None]:
    """Raise errors of pyarrow as ValueError that names the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{where}: cannot be read ({error}); {REMEDY}") from error


def open_table(path: str) -> ArrowTable | ParquetTable:
    """Open a file. Raises ValueError if it is damaged."""
    with located(path):
        state = os.stat(path)
        return _opened(path, state.st_mtime_ns, state.st_size)


def embedded_audio(path: str, row: int, entry: str) -> pa.BufferReader:
    """Open the audio file in a row. Raises ValueError if there is none."""
    import pyarrow as pa

    with _LOCK, located(entry):
        table = open_table(path)
        if row >= table.num_rows:
            raise ValueError(f"{entry}: {path} has only {table.num_rows} rows; rerun stage 1")
        if not table.has_files:
            raise ValueError(f"{entry}: {path} has no column of audio files; rerun stage 1")
        found = table.audio_file(row)
        if not found.is_valid:
            raise ValueError(f"{entry}: no audio in this row; remove it from the data set")
        return pa.BufferReader(found.as_buffer())


class _Table:
    """What both kinds of file have."""

    def __init__(self, schema: pa.Schema, num_rows: int):
        self.schema, self.num_rows = schema, num_rows
        self.audio = column_of(schema, "audio")
        self.has_files = self.audio is not None and holds_files(schema.field(self.audio).type)


class ArrowTable(_Table):
    """An Arrow stream, mapped into memory."""

    def __init__(self, path: str):
        import pyarrow as pa

        with pa.memory_map(path) as source:
            self._table = pa.ipc.open_stream(source).read_all()
        super().__init__(self._table.schema, len(self._table))
        self._files = None
        if self.has_files:
            self._table.select([self.audio]).validate(full=True)  # offsets that lead out of the file
            self._files = _member(self._table[self.audio], BYTES)

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Yield the rows of `columns` in order; of the audio column, the path."""
        table = self._table.select(columns)
        table.validate(full=True)
        if self._files is not None:
            table = table.set_column(columns.index(self.audio), self.audio, _member(table[self.audio], PATH))
        start = 0
        for batch in table.to_batches(max_chunksize=_BLOCK_ROWS):
            yield batch, _are_valid(self._files, start, len(batch))
            start += len(batch)

    def audio_file(self, row: int) -> pa.Scalar:
        """The audio file in a row."""
        return self._files[row]


class _IsRead(Exception):
    """The metadata is sound, and the data would be read."""


class _Unread(io.RawIOBase):
    """In place of a file of `size` bytes, of which nothing is read."""

    def __init__(self, size: int):
        self._size, self._position = size, 0

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = self._size + offset if whence == os.SEEK_END else offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        raise _IsRead


class ParquetTable(_Table):
    """A Parquet file, of which one row group is read at a time."""

    def __init__(self, path: str):
        import pyarrow.parquet as pq

        self._path, self._file = path, pq.ParquetFile(path)
        self._groups = [self._file.metadata.row_group(number) for number in range(self._file.num_row_groups)]
        self._ends = list(accumulate(group.num_rows for group in self._groups))
        super().__init__(self._file.schema_arrow, self._ends[-1] if self._ends else 0)
        leaves = [self._file.schema.column(place).path for place in range(len(self._file.schema))]
        if self.has_files and f"{self.audio}.{BYTES}" not in leaves:
            raise ValueError(f"{path}: got columns {leaves[:12]}, wanted {self.audio}.{BYTES}; {REMEDY}")
        self._leaf = leaves.index(f"{self.audio}.{BYTES}") if self.has_files else None
        if self.has_files:
            self._check_metadata()

    def _check_metadata(self) -> None:
        """Raise ValueError, or an error of pyarrow, if a row group's metadata is damaged.

        pyarrow's `RowGroupMetaData.column` and `statistics` do not catch exceptions of C++, which abort the process;
        reading a row group does.
        """
        import pyarrow.parquet as pq

        unread = pq.ParquetFile(_Unread(os.path.getsize(self._path)), metadata=self._file.metadata)
        kind = self._file.schema.column(self._leaf).physical_type
        for number, group in enumerate(self._groups):
            with suppress(_IsRead):
                unread.read_row_group(number, columns=[f"{self.audio}.{BYTES}"])
            if (found := group.column(self._leaf).physical_type) != kind:
                raise ValueError(f"{self._path}: row group {number}: got type {found}, wanted {kind}; {REMEDY}")

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Yield the rows of `columns` in order; of the audio column, the path. Audio files are not read."""
        for presence, groups in self._runs():
            files = _files_of_group(self, groups[0]) if presence is None else None
            start = 0
            for batch in self._batches(groups, columns):
                count = len(batch)
                yield batch, [bool(presence)] * count if files is None else _are_valid(files, start, count)
                start += count

    def _runs(self) -> Iterator[tuple[bool | None, list[int]]]:
        """Yield (presence, row groups): neighbours together, except for those whose statistics say nothing."""
        known = [self._presence(number) for number in range(len(self._groups))]
        alone = [number if presence is None else None for number, presence in enumerate(known)]
        for key, numbers in groupby(range(len(known)), lambda number: (known[number], alone[number])):
            yield key[0], list(numbers)

    def _batches(self, groups: list[int], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        leaves = [f"{name}.{PATH}" if self.has_files and name == self.audio else name for name in columns]
        for batch in self._file.iter_batches(_BLOCK_ROWS, row_groups=groups, columns=leaves):
            batch = batch.select(columns)
            if self.has_files:
                at = columns.index(self.audio)
                batch = batch.set_column(at, self.audio, _member(batch.column(at), PATH))
            yield batch

    def audio_file(self, row: int) -> pa.Scalar:
        """The audio file in a row."""
        number = bisect_right(self._ends, row)
        return _files_of_group(self, number)[row - self._ends[number] + self._groups[number].num_rows]

    def _presence(self, number: int) -> bool | None:
        """Whether all rows of a group hold audio files, or none; None if its statistics do not say."""
        if not self.has_files:
            return False
        self._check_size(number)
        statistics, rows = self._groups[number].column(self._leaf).statistics, self._groups[number].num_rows
        if statistics is None or not statistics.has_null_count or statistics.null_count not in (0, rows):
            return None
        return statistics.null_count == 0

    def read_files(self, number: int) -> pa.ChunkedArray:
        """The audio files of a row group."""
        self._check_size(number)
        return _member(self._file.read_row_group(number, columns=[f"{self.audio}.{BYTES}"])[self.audio], BYTES)

    def _check_size(self, number: int) -> None:
        size = self._groups[number].column(self._leaf).total_uncompressed_size
        if size > MAX_GROUP_BYTES:
            raise ValueError(
                f"{self._path}: row group {number} has {size >> 20:,} MiB of audio, at most "
                f"{MAX_GROUP_BYTES >> 20:,} are read at once; write smaller row groups: to_parquet(..., batch_size=100)"
            )


@lru_cache(maxsize=_OPEN_FILES)
def _opened(path: str, _modified: int, _size: int) -> ArrowTable | ParquetTable:
    return ParquetTable(path) if path.endswith(PARQUET) else ArrowTable(path)


@lru_cache(maxsize=_ROW_GROUPS)
def _files_of_group(table: ParquetTable, number: int) -> pa.ChunkedArray:
    return table.read_files(number)


def _member(values: pa.Array | pa.ChunkedArray, name: str) -> pa.Array | pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.struct_field(values, name)


def _are_valid(values: pa.ChunkedArray | None, start: int, count: int) -> list[bool]:
    return [False] * count if values is None else values[start : start + count].is_valid().to_pylist()
