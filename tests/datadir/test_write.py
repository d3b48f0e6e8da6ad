"""Data directories that Kaldi accepts, written block by block."""

from pathlib import Path

import pyarrow as pa
import pytest

from tests.corpora.example import write_text
from zipperasr.datadir.entry import ENTRIES, Entry
from zipperasr.datadir.read import read_data_dir
from zipperasr.datadir.write import write_data_dir, write_tables

ENTRY = Entry("s1-a", "s1", "x/a.flac", "guten tag", "de", 1.25)


def test_a_written_directory_can_be_read(tmp_path: Path):
    entries = [ENTRY._replace(utt="s2-b", speaker="s2", audio="x/b.flac", repeat=2), ENTRY]

    write_data_dir(tmp_path / "set", entries)

    assert read_data_dir(tmp_path / "set") == [ENTRY, entries[0]]
    assert (tmp_path / "set/spk2utt").read_text() == "s1 s1-a\ns2 s2-b\n"
    assert (tmp_path / "set/utt2repeat").read_text() == "s1-a 1\ns2-b 2\n"


def test_segments_of_one_recording_share_one_line_in_wav_scp(tmp_path: Path):
    entries = [
        ENTRY._replace(utt=f"s1-{n}", audio="x/long.opus", start_s=n * 2.0, end_s=n * 2.0 + 1.25) for n in range(3)
    ]

    write_data_dir(tmp_path / "set", entries)

    assert (tmp_path / "set/wav.scp").read_text() == "long x/long.opus\n"
    assert (tmp_path / "set/segments").read_text().splitlines()[1] == "s1-1 long 2.000 3.250"
    assert read_data_dir(tmp_path / "set") == entries


def test_tables_are_in_c_order(tmp_path: Path):
    utts = ["15-15_7", "159-159_7", "é-1", "z-1", "A-1"]

    write_data_dir(tmp_path / "set", [ENTRY._replace(utt=u, speaker=u.partition("-")[0]) for u in utts])

    keys = [line.split()[0].encode() for line in (tmp_path / "set/text").read_text(encoding="utf-8").splitlines()]
    assert keys == sorted(keys)


def test_existing_directory_is_replaced_as_a_whole(tmp_path: Path):
    write_text(tmp_path / "set/segments", "old")

    write_data_dir(tmp_path / "set", [ENTRY])

    assert not (tmp_path / "set/segments").exists()


def test_duplicate_ids_and_unsortable_speakers_are_errors(tmp_path: Path):
    with pytest.raises(ValueError, match=r"set: id 's1-a' is repeated \(x/a.flac, x/z.flac\)"):
        write_data_dir(tmp_path / "set", [ENTRY, ENTRY._replace(audio="x/z.flac")])
    clash = [ENTRY._replace(utt="a-b-1", speaker="a-b"), ENTRY._replace(utt="a-c", speaker="a")]
    with pytest.raises(ValueError, match=r"speakers 'a-b' and 'a' sort unlike their utterances"):
        write_data_dir(tmp_path / "set", clash)
    assert not (tmp_path / "set").exists()


def test_recordings_in_one_file_are_named_by_offset_or_row(tmp_path: Path):
    audio = ["a/x.ark:7", "a/x.ark:99", "b/train.parquet:000000003"]
    entries = [Entry(f"s1-{n}", "s1", name, "hallo", "de", 1.0, 1, 0.5, 1.5) for n, name in enumerate(audio)]

    write_data_dir(tmp_path / "set", entries)

    names = [line.split()[1] for line in (tmp_path / "set/segments").read_text().splitlines()]
    assert names == ["x_7", "x_99", "train_000000003"]
    assert [entry.audio for entry in read_data_dir(tmp_path / "set")] == audio


def test_recordings_with_the_same_name_get_names_with_directories(tmp_path: Path):
    audio = ["a/0/my talk.opus", "a/1/my talk.opus", "b/1/my talk.opus"]
    entries = [
        ENTRY._replace(utt=f"s1-{number}", audio=path, start_s=0.0, end_s=1.0) for number, path in enumerate(audio)
    ]

    write_data_dir(tmp_path / "set", entries)

    names = ["my_talk", "1_my_talk", "b_1_my_talk"]
    assert [line.split()[1] for line in (tmp_path / "set/segments").read_text().splitlines()] == names
    assert [entry.audio for entry in read_data_dir(tmp_path / "set")] == audio


def blocks_of(entries: list[Entry], sizes: list[int]) -> list[pa.RecordBatch]:
    """The entries in blocks of these sizes."""
    rows = iter(entries)
    parts = [[next(rows)._asdict() for _ in range(size)] for size in sizes]
    return [pa.RecordBatch.from_pylist(part, schema=ENTRIES) for part in parts]


@pytest.mark.parametrize("sizes", [[6], [1, 1, 1, 1, 1, 1], [2, 4], [5, 1]])
@pytest.mark.parametrize("segmented", [False, True])
def test_tables_do_not_depend_on_block_boundaries(tmp_path: Path, sizes: list[int], segmented: bool):
    entries = [
        ENTRY._replace(
            utt=f"s{n // 3}-{n}", speaker=f"s{n // 3}", repeat=n + 1, num_samples=20_000, audio=f"x/{n // 2}.opus",
            start_s=n * 1.5 if segmented else None, end_s=n * 1.5 + 1.25 if segmented else None,
        )
        for n in range(6)
    ]  # fmt: skip

    totals = write_tables(tmp_path, blocks_of(entries, sizes), segmented)

    assert (tmp_path / "spk2utt").read_text() == "s0 s0-0 s0-1 s0-2\ns1 s1-3 s1-4 s1-5\n"
    assert (tmp_path / "utt2num_samples").read_text() == "".join(f"{e.utt} 20000\n" for e in entries)
    assert (tmp_path / "segments").exists() == segmented
    assert read_data_dir(tmp_path) == entries
    assert (totals.utterances, totals.seconds, totals.seconds_with_repeats) == (6, 6 * 1.25, 21 * 1.25)


def test_a_duplicate_id_is_found_across_blocks(tmp_path: Path):
    with pytest.raises(ValueError, match=r"data/x: id 's1-a' is repeated"):
        write_tables(tmp_path, blocks_of([ENTRY, ENTRY], [1, 1]), segmented=False, name="data/x")
