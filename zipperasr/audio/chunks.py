"""Divide the utterances of a data set into chunks, which stage 2 converts one by one.

In: a data directory of stage 1. Out: `Chunk`s. They depend on the directory alone, not on the number of processes or
shards, and so do the archives and their order. The first thousand are files of data/, the following ones of data/1,
data/2, ..., because file systems are slow with many files in one directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from zipperasr.audio.convert import Chunk
from zipperasr.datadir.entry import ENTRIES, Entry
from zipperasr.datadir.read import read_blocks
from zipperasr.datadir.sorted_spool import SortedSpool

MAX_CHUNK_UTTS, MIN_CHUNK_UTTS = 512, 16
CHUNKS_OF_A_DIRECTORY = 1000


class Chunks:
    """The chunks of a set. Utterances of one recording are in one chunk, ordered by their start.

    Args:
        source: data directory of stage 1.
        target: the set's directory in dump/raw.
        audio_format: see AUDIO_FORMATS.
        scratch: for temporary files.
    """

    def __init__(self, source: Path, target: Path, audio_format: str, scratch: Path):
        self._target, self._format = target, audio_format
        self._rows = SortedSpool(ENTRIES.append(pa.field("order", pa.string())), "order", scratch)
        for block in read_blocks(source):
            starts = zip(*(block[name].to_pylist() for name in ("audio", "start_s", "utt")), strict=True)
            order = [f"{audio}\0{start_s or 0:012.3f}\0{utt}" for audio, start_s, utt in starts]
            self._rows.append([*block.columns, order])
        self.num_utts = len(self._rows)
        self._size = min(MAX_CHUNK_UTTS, max(MIN_CHUNK_UTTS, -(-self.num_utts // 2)))
        self.count = 0  # of those yielded so far

    def __iter__(self) -> Iterator[Chunk]:
        self.count = 0
        batch: list[Entry] = []
        for block in self._rows.blocks():
            for row in zip(*(column.to_pylist() for column in block.columns[:-1]), strict=True):
                entry = Entry(*row)
                if len(batch) >= self._size and entry.audio != batch[-1].audio:
                    yield self._chunk(batch)
                    batch = []
                batch.append(entry)
        yield self._chunk(batch)

    def _chunk(self, batch: list[Entry]) -> Chunk:
        folder = self._target / "data"
        if self.count >= CHUNKS_OF_A_DIRECTORY:
            folder /= str(self.count // CHUNKS_OF_A_DIRECTORY)
        self.count += 1
        return Chunk(str(folder / f"format.{self.count}"), self._format, tuple(batch))


def files_of_chunks(folder: Path) -> list[Path]:
    """Return the files of all chunks below data/: archives and records, but not those of single utterances."""
    return [path for pattern in ("*", "[0-9]*/*") for path in folder.glob(pattern) if path.is_file()]


def remove_stale(folder: Path, num_chunks: int) -> None:
    """Delete surplus chunks of an earlier run that had more of them."""
    for path in (path for path in files_of_chunks(folder) if path.suffix == ".json"):
        number = path.name.removeprefix("format.").removesuffix(".json")
        if not number.isdigit() or int(number) > num_chunks:
            for stale in (path, path.with_suffix(".ark")):
                stale.unlink(missing_ok=True)
