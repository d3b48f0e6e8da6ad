"""Tables are read in parallel; inconsistencies are reported."""

from pathlib import Path

import pytest

from tests.corpora.example import write_text
from zipperasr.datadir.entry import Entry
from zipperasr.datadir.read import read_blocks, read_data_dir
from zipperasr.datadir.write import write_data_dir

ENTRIES = [Entry(f"s{n}-a", f"s{n}", f"x/{n}.flac", f"satz {n}", "de", n + 0.5) for n in range(5)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_data_dir(tmp_path / "set", ENTRIES)
    return tmp_path / "set"


@pytest.mark.parametrize("block_rows", [1, 2, 5, 9])
def test_blocks_contain_all_rows_in_order(directory: Path, block_rows: int):
    blocks = list(read_blocks(directory, block_rows))

    assert [len(block) for block in blocks[:-1]] == [block_rows] * (len(blocks) - 1)
    assert [Entry(*row.values()) for block in blocks for row in block.to_pylist()] == ENTRIES


def test_repeats_default_to_one_without_a_table(directory: Path):
    (directory / "utt2repeat").unlink()

    assert read_data_dir(directory) == ENTRIES


def test_a_missing_table_is_reported(directory: Path):
    (directory / "utt2lang").unlink()

    with pytest.raises(FileNotFoundError, match=r"utt2lang: no such file; run the stage"):
        read_data_dir(directory)


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("utt2lang", ["s0-a de", "s2-a de"], r"utt2lang: got 's2-a' where utt2spk has id 's1-a'; rerun the stage"),
        ("utt2lang", ["s0-a de"], r"utt2lang: got the end of the file where utt2spk has id 's1-a'"),
        ("wav.scp", [f"s{n}-a x" for n in range(6)], r"wav.scp: id 's5-a' is not in utt2spk"),
        (
            "wav.scp",
            [f"s{n}-a {'x' if n < 3 else 'cat x |'}" for n in range(5)],
            r"wav.scp: 'cat x |' is a command; com",
        ),
        (
            "wav.scp",
            [*(f"s{n}-a x" for n in range(4)), 's4-a ["a.wav","b.wav"]'],
            r"wav.scp: '\[\"a.wav\",\"b.wav\"\]' is a composed clip of a manifest; enter one recording per line",
        ),
        ("utt2dur", [f"s{n}-a {'1.0' if n < 3 else 'long'}" for n in range(5)], r"utt2dur: id 's3-a': got 'long', wan"),
        ("utt2repeat", [f"s{n}-a 1.5" for n in range(5)], r"utt2repeat: id 's0-a': got '1.5', wanted a number"),
    ],
)
def test_inconsistent_tables_are_reported(directory: Path, name: str, lines: list[str], message: str):
    write_text(directory / name, *lines)

    with pytest.raises(ValueError, match=message):
        read_data_dir(directory)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("s1-a long 0.0", r"segments: id 's1-a': got \['long', '0.0'\], wanted recording, start, end"),
        ("s1-a long 0.0 x", r"segments: id 's1-a': got \['long', '0.0', 'x'\], wanted recording, start, end"),
        ("s1-a other 0.0 1.0", r"segments: id 's1-a': recording 'other' is not in wav.scp"),
    ],
)
def test_malformed_segments_are_reported(tmp_path: Path, line: str, message: str):
    write_data_dir(tmp_path / "set", [ENTRIES[1]._replace(audio="long.opus", start_s=0.0, end_s=1.5)])
    assert read_data_dir(tmp_path / "set")[0].end_s == 1.5
    write_text(tmp_path / "set" / "segments", line)

    with pytest.raises(ValueError, match=message):
        read_data_dir(tmp_path / "set")
