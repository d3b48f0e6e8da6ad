"""Sort any number of rows on disk: an external merge sort of Arrow batches.

In: batches of columns, in any order. Out: blocks of rows in C order of one string column. Memory holds one run while
rows are added, and one block of each run while they are read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

RUN_ROWS = 1 << 17
BLOCK_ROWS = 1 << 13


class SortedSpool:
    """Append batches, then read `blocks()` any number of times. The files are deleted with the object."""

    def __init__(self, schema: pa.Schema, key: str, directory: Path, run_rows: int = RUN_ROWS):
        directory.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(dir=directory, prefix=".spool.")
        self._schema, self._key, self._run_rows = schema, key, run_rows
        self._waiting: list[pa.RecordBatch] = []
        self._num_waiting = self._num_runs = self._num_rows = 0

    def __len__(self) -> int:
        return self._num_rows

    def append(self, columns: Sequence[Sequence]) -> None:
        """Add a batch of rows: one sequence for each column of the schema."""
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        batch = pa.record_batch(arrays, schema=self._schema)
        self._waiting.append(batch)
        self._num_waiting += len(batch)
        self._num_rows += len(batch)
        if self._num_waiting >= self._run_rows:
            self._write_run()

    def blocks(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows, sorted by the key, in blocks that are not empty."""
        self._write_run()
        runs = [_Run(self._path(number), self._key) for number in range(self._num_runs)]
        while runs:
            # Rows up to the smallest of the runs' last keys are complete: later blocks have larger keys.
            bound = min(run.last_key for run in runs)
            parts = [part for run in runs if len(part := run.take_until(bound))]
            runs = [run for run in runs if not run.exhausted]
            block = pa.Table.from_batches(parts)
            if len(parts) > 1:
                block = block.sort_by(self._key)
            yield block.combine_chunks().to_batches()[0]

    def _write_run(self) -> None:
        if not self._waiting:
            return
        rows = pa.Table.from_batches(self._waiting).combine_chunks().sort_by(self._key)
        with pa.OSFile(self._path(self._num_runs), "wb") as sink, pa.ipc.new_file(sink, self._schema) as writer:
            writer.write_table(rows, max_chunksize=BLOCK_ROWS)
        self._num_runs += 1
        self._waiting, self._num_waiting = [], 0

    def _path(self, number: int) -> str:
        return f"{self._folder.name}/{number}.arrow"


class _Run:
    """One sorted file, read block by block."""

    def __init__(self, path: str, key: str):
        self._file = pa.ipc.open_file(pa.OSFile(path, "rb"))
        self._key, self._next = key, 0
        self._load()

    @property
    def exhausted(self) -> bool:
        return self._block is None

    @property
    def last_key(self) -> str:
        return self._block[self._key][-1].as_py()

    def take_until(self, bound: str) -> pa.RecordBatch:
        """Take the rows of the current block with keys of at most `bound`."""
        count = pc.sum(pc.less_equal(self._block[self._key], bound)).as_py()
        taken, rest = self._block[:count], self._block[count:]
        if len(rest):
            self._block = rest
        else:
            self._load()
        return taken

    def _load(self) -> None:
        more = self._next < self._file.num_record_batches
        self._block = self._file.get_batch(self._next) if more else None
        self._next += 1
