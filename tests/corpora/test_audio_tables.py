"""Audio files in rows of Arrow and Parquet files: opened by entry, in order without reading a row group twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpora.example import write_audio_table, write_noise
from zipperasr.audio.convert import Chunk, convert_chunk
from zipperasr.audio.load import header_duration_s, load_audio
from zipperasr.corpora import audio_tables
from zipperasr.corpora.audio_tables import ParquetTable, entry_of
from zipperasr.corpora.utterance import Utterance
from zipperasr.datadir.entry import Entry
from zipperasr.prepare.probing import probe

KINDS = (".arrow", ".parquet")


def noise(folder: Path, suffix: str = ".wav", seconds: float = 0.2) -> bytes:
    write_noise(folder / f"noise{suffix}", seconds)
    return (folder / f"noise{suffix}").read_bytes()


@pytest.fixture
def groups_read(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each row group was read."""
    counts: Counter[int] = Counter()
    read_files = ParquetTable.read_files

    def counted(table: ParquetTable, number: int) -> pa.ChunkedArray:
        counts[number] += 1
        return read_files(table, number)

    monkeypatch.setattr(ParquetTable, "read_files", counted)
    return counts


@pytest.mark.parametrize("kind", KINDS)
def test_every_codec_is_the_same_as_in_a_file(tmp_path: Path, kind: str):
    suffixes = (".wav", ".flac", ".mp3", ".ogg", ".opus")
    path = write_audio_table(tmp_path / f"x{kind}", *(noise(tmp_path, suffix) for suffix in suffixes))

    for row, suffix in enumerate(suffixes):
        assert (load_audio(entry_of(path, row)) == load_audio(tmp_path / f"noise{suffix}")).all(), suffix
        assert header_duration_s(entry_of(path, row)) == header_duration_s(tmp_path / f"noise{suffix}")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_audio_are_named(tmp_path: Path, kind: str):
    path = write_audio_table(tmp_path / f"x{kind}", noise(tmp_path), None, b"no audio")
    other = str(tmp_path / f"paths{kind}")
    Path(write_audio_table(tmp_path / f"y{kind}")).rename(other)

    for entry, message in (
        (entry_of(path, 1), "no audio in this row; remove it from the data set"),
        (entry_of(path, 2), "cannot be decoded"),
        (entry_of(path, 3), f"{path} has only 3 rows; rerun stage 1"),
        (entry_of(other, 0), f"{other} has only 0 rows; rerun stage 1"),
    ):
        with pytest.raises(ValueError, match=f"^{entry}: {message}"):
            load_audio(entry)
    with pytest.raises(ValueError, match=rf"z{kind}: cannot be read \(.*No such file.*\); write the data set again"):
        load_audio(f"{tmp_path}/z{kind}:0")


def test_a_table_of_paths_has_no_audio(tmp_path: Path):
    pq.write_table(pa.table({"audio": ["a.wav"]}), tmp_path / "x.parquet")

    with pytest.raises(ValueError, match=r"x.parquet:0: .*x.parquet has no column of audio files; rerun stage 1"):
        load_audio(f"{tmp_path}/x.parquet:0")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_written_again_is_opened_again(tmp_path: Path, kind: str):
    write_audio_table(tmp_path / f"x{kind}", noise(tmp_path, seconds=0.2))
    assert header_duration_s(f"{tmp_path}/x{kind}:0") == 0.2
    write_audio_table(tmp_path / f"x{kind}", noise(tmp_path, seconds=0.3))

    assert header_duration_s(f"{tmp_path}/x{kind}:0") == 0.3


def test_offsets_that_lead_out_of_a_file_are_refused(tmp_path: Path):
    """Arrow does not check them, and reading there would kill the process."""
    path = Path(write_audio_table(tmp_path / "x.arrow", b"12345", b"678"))
    good = path.read_bytes()
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 5, 8))
    assert good.count(offsets) == 1
    path.write_bytes(good.replace(offsets, offsets[:8] + (1 << 30).to_bytes(4, "little")))

    with pytest.raises(ValueError, match=r"x.arrow: cannot be read .*; write the data set again"):
        load_audio(f"{path}:0")


def test_stages_1_and_2_read_each_row_group_once(tmp_path: Path, groups_read: Counter[int]):
    """The threads of stage 2 open several rows at a time, and the end of a row group with the next one."""
    path = write_audio_table(tmp_path / "x.parquet", *[noise(tmp_path)] * 60, row_group_size=7)
    utterances = [Utterance(f"u{row}", "s", entry_of(path, row), "x", "de") for row in range(60)]

    ((probed, exist),) = probe(utterances, tmp_path / "durations")
    assert all(exist) and {utterance.duration_s for utterance in probed} == {0.2}
    assert groups_read == dict.fromkeys(range(9), 1)

    audio_tables._files_of_group.cache_clear()
    rows = tuple(Entry(u.id, u.speaker, u.audio, u.text, u.lang_code, u.duration_s) for u in probed)
    assert len(convert_chunk(Chunk(str(tmp_path / "out"), "flac.ark", rows)).written) == 60
    assert groups_read == dict.fromkeys(range(9), 2)


def test_large_row_groups_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_audio_table(tmp_path / "x.parquet", *(noise(tmp_path, seconds=seconds) for seconds in (40, 41)))
    monkeypatch.setattr(audio_tables, "MAX_GROUP_BYTES", 1 << 20)

    for read in (lambda: load_audio(f"{path}:0"), lambda: list(ParquetTable(path).blocks(["audio"]))):
        with pytest.raises(ValueError, match=f"{path}: row group 0 has 2 MiB of audio, at most 1 are read at once"):
            read()


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        (b"\x1c\x15\x0c\x19", b"\x1c\x15\x2c\x19", "row group 0: got type UNKNOWN, wanted BYTE_ARRAY; write the"),
        (b"\x25\x02\x18\x05bytes", b"\x25\x0c\x18\x05bytes", "cannot be read ("),
    ],
    ids=["type", "null values"],
)
def test_damaged_metadata_of_a_row_group_does_not_abort_the_process(
    tmp_path: Path, good: bytes, bad: bytes, message: str
):
    """pyarrow aborts if it is asked for the statistics of such a column."""
    path = Path(write_audio_table(tmp_path / "x.parquet", noise(tmp_path), None, text=["x", "y"]))
    content = path.read_bytes()
    path.write_bytes(content.replace(good, bad, 1))
    assert content.count(good) >= 1
    program = f"""
from pathlib import Path
from zipperasr.corpora.huggingface import FORMAT
print(*FORMAT.scan(Path({str(path)!r})))
"""

    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)

    assert done.returncode == 0 and f"{path}: {message}" in done.stdout
