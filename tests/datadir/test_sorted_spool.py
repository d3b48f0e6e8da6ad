"""Rows are returned sorted and complete, in whatever order and block sizes they were added."""

import random
from pathlib import Path

import pyarrow as pa
import pytest

from zipperasr.datadir.sorted_spool import SortedSpool

SCHEMA = pa.schema([("utt", pa.string()), ("number", pa.int64()), ("start_s", pa.float64())])


def spool_of(keys: list[str], folder: Path, batch: int = 7, run_rows: int = 20) -> SortedSpool:
    spool = SortedSpool(SCHEMA, "utt", folder, run_rows)
    for start in range(0, len(keys), batch):
        part = keys[start : start + batch]
        spool.append([part, range(start, start + len(part)), [None] * len(part)])
    return spool


def rows_of(spool: SortedSpool) -> list[tuple]:
    return [tuple(row.values()) for block in spool.blocks() for row in block.to_pylist()]


@pytest.mark.parametrize("order", ["sorted", "reversed", "shuffled", "interleaved"])
def test_blocks_contain_every_row_once_in_c_order(tmp_path: Path, order: str):
    keys = [f"{number:03d}é" if number % 3 else f"{number:03d}Z" for number in range(200)]
    if order == "reversed":
        keys.reverse()
    elif order == "shuffled":
        random.Random(0).shuffle(keys)
    elif order == "interleaved":
        keys = keys[::4] + keys[1::4] + keys[2::4] + keys[3::4]

    rows = rows_of(spool_of(keys, tmp_path))

    assert [row[0].encode() for row in rows] == sorted(key.encode() for key in keys)
    assert all(keys[number] == key for key, number, _ in rows)


def test_equal_keys_are_all_kept(tmp_path: Path):
    rows = rows_of(spool_of(["b"] * 30 + ["a"] * 30 + ["b"] * 30, tmp_path))

    assert [row[0] for row in rows] == ["a"] * 30 + ["b"] * 60
    assert sorted(row[1] for row in rows) == list(range(90))


def test_rows_can_be_read_again_and_more_can_be_added(tmp_path: Path):
    spool = spool_of(["c", "a"], tmp_path)
    assert rows_of(spool) == rows_of(spool)

    spool.append([["b"], [2], [1.5]])

    assert [row[0] for row in rows_of(spool)] == ["a", "b", "c"] and len(spool) == 3


def test_an_empty_spool_gives_no_rows(tmp_path: Path):
    assert rows_of(SortedSpool(SCHEMA, "utt", tmp_path)) == []


def test_files_are_deleted_with_the_object(tmp_path: Path):
    spool = spool_of([f"{number}" for number in range(50)], tmp_path)
    assert list(tmp_path.rglob("*.arrow"))

    del spool

    assert list(tmp_path.iterdir()) == []
