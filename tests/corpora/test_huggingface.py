"""Data sets of Hugging Face on disk: which files are read, what their columns may hold, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpora.example import write_noise, write_text
from tests.corpora.own_data_example import EMBEDDED, expected, write_audio
from zipperasr.corpora import read_corpus
from zipperasr.corpora.audio_tables import ParquetTable
from zipperasr.corpora.huggingface import FORMAT

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
GOOD = {"audio": {"bytes": b"RIFF", "path": "a.wav"}, "text": "x", "lang": "de"}


def write_rows(path: Path, *rows: dict, row_group_size: int = 100, **types: pa.DataType) -> Path:
    """Rows as Parquet, with these types of the columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: pa.array([row.get(name) for row in rows], types.get(name)) for name in names}
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def read(root: Path, language: str = "de", split: str = "train") -> list:
    return list(read_corpus("huggingface", root, language, split))


@pytest.mark.parametrize("name", EMBEDDED)
def test_audio_in_the_list_gives_the_same_utterances_with_entries_of_its_rows(tmp_path: Path, name: str):
    write_audio(tmp_path)
    EMBEDDED[name][1](tmp_path, "train")

    found = read(tmp_path) + read(tmp_path, "es")

    wanted = expected(tmp_path, "train")
    assert [utterance._replace(audio="") for utterance in found] == [each._replace(audio="") for each in wanted]
    shards, rows = zip(*(utterance.audio.rsplit(":", 1) for utterance in found), strict=True)
    assert rows == ("000000000", "000000001", "000000000") and len(set(shards)) == 2
    assert all(Path(shard).is_file() for shard in shards)


def test_rows_without_ids_are_named_by_file_and_row(tmp_path: Path):
    write_rows(tmp_path / "calls/train.parquet", GOOD, GOOD | {"lang": "es"}, GOOD | {"speaker": 7})

    first, second = read(tmp_path / "calls")

    assert (first.id, first.speaker) == ("calls_train_000000000", "calls_train_000000000")
    assert (second.id, second.speaker) == ("calls_train_000000002", "7")


def test_a_row_with_a_path_and_no_bytes_names_the_file(tmp_path: Path):
    """In one row group with others: its statistics do not say which rows hold audio."""
    path = {"audio": {"bytes": None, "path": "wav/b.wav"}}
    write_rows(tmp_path / "train.parquet", GOOD, GOOD | path, GOOD, row_group_size=2, audio=AUDIO)

    assert [utterance.audio.removeprefix(f"{tmp_path.resolve()}/") for utterance in read(tmp_path)] == [
        "train.parquet:000000000", "wav/b.wav", "train.parquet:000000002",
    ]  # fmt: skip


def test_audio_files_are_not_read_to_list_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = {"audio": {"bytes": None, "path": "a.wav"}}
    write_rows(tmp_path / "train.parquet", GOOD, GOOD, row_group_size=1, audio=AUDIO)
    write_rows(tmp_path / "test.parquet", GOOD | paths, GOOD | paths, audio=AUDIO)
    monkeypatch.setattr(ParquetTable, "read_files", None)

    assert len(read(tmp_path)) == len(read(tmp_path, split="test")) == 2


def test_labels_are_read_by_their_name(tmp_path: Path):
    from datasets import ClassLabel, Dataset

    rows = [{"audio": "a.wav", "text": "x", "locale": number, "intent": number} for number in (0, 1)]
    labels = Dataset.from_list(rows).cast_column("locale", ClassLabel(names=["en-US", "de-DE"]))
    labels.cast_column("intent", ClassLabel(names=["pay", "cancel"])).to_parquet(tmp_path / "train.parquet")

    (utterance,) = read(tmp_path)

    assert utterance.lang_code == "de"
    for number in (-1, 2):  # no label, and one without a name
        rows[1]["locale"] = number
        table = pa.Table.from_pylist(rows).replace_schema_metadata(pq.read_schema(tmp_path / "train.parquet").metadata)
        pq.write_table(table, tmp_path / "bad.parquet")
        with pytest.raises(ValueError, match=f"row 1: got language {number}, wanted a string"):
            read(tmp_path, split="bad")


@pytest.mark.parametrize(
    ("row", "types", "message"),
    [
        ({"audio": {"bytes": None, "path": None}}, {"audio": AUDIO}, r"row 1: no audio, neither bytes nor a path; rem"),
        ({"audio": None}, {"audio": AUDIO}, r"row 1: no audio"),
        ({"lang": "Germn"}, {}, r"row 1: unknown language 'Germn'; did you mean 'german'\?"),
        ({"lang": None}, {}, r"row 1: no language; add a field `lang`, or move the list to .*/de$"),
        ({"offset": 1.0}, {}, r"row 1: got offset 1.0 and no duration"),
        ({"id": "a b"}, {}, r"row 1: id 'a b' is empty or contains whitespace or slashes"),
        (
            {"audio": {"bytes": None, "path": "hf://a/b.wav"}},
            {"audio": AUDIO},
            r"row 1: got audio 'hf://a/b.wav', w",
        ),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict, types: dict, message: str):
    path = write_rows(tmp_path / "train.parquet", GOOD, GOOD | row, GOOD, **types)

    with pytest.raises(ValueError, match=f"{path}: {message}"):
        read(tmp_path)
    assert sum(isinstance(item, ValueError) for item in FORMAT.scan(path)) == (row != {"lang": None})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x"}, r"got columns \['text'\], none of which is audio or audio_filepath .*; rename one"),
        ({"audio": "a.wav"}, r"got columns \['audio'\], none of which is text or sentence .*; rename one"),
        (GOOD | {"lang": 3}, r"column 'lang': got int64, wanted text, or labels with names; convert it"),
        (GOOD | {"text": ["x"]}, r"column 'text': got list<.*>, wanted text"),
        (GOOD | {"speaker": {"name": "x"}}, r"column 'speaker': got struct<.*>, wanted one value in each row"),
        (GOOD | {"audio": {"array": [0.1], "rate": 1}}, r"column 'audio': .*, wanted {bytes, path} or paths; use the"),
        (
            GOOD | {"audio": b"RIFF"},
            r"column 'audio': got binary, wanted {bytes, path} or paths; use the",
        ),
    ],
)
def test_a_bad_column_is_named(tmp_path: Path, row: dict, message: str):
    path = write_rows(tmp_path / "train.parquet", row)

    with pytest.raises(ValueError, match=f"{path}: {message}"):
        read(tmp_path)


def test_damaged_files_are_named(tmp_path: Path):
    write_audio(tmp_path)
    EMBEDDED["save_to_disk"][1](tmp_path, "train")
    shard, state = tmp_path / "train/data-00001-of-00002.arrow", tmp_path / "train/state.json"
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"data-00001-of-00002.arrow: cannot be read \(.*\); write the data set again"):
        read(tmp_path)
    shard.unlink()
    with pytest.raises(ValueError, match=r"data-00001-of-00002.arrow: no such file; save the data set again"):
        read(tmp_path)
    for content in ("{", "[]", '{"_data_files": 3}'):
        write_text(state, content)
        with pytest.raises(ValueError, match=r"state.json: got no list of files .*; save the data set again"):
            read(tmp_path)
    write_text(state, '{"_data_files": [{"filename": "../list.txt"}]}')
    with pytest.raises(ValueError, match=r"state.json: got file '../list.txt', wanted .arrow; save the data set again"):
        read(tmp_path)
    write_text(tmp_path / "x.parquet", "no table")
    with pytest.raises(ValueError, match=r"x.parquet: cannot be read"):
        read(tmp_path, split="x")


def test_where_a_split_is_looked_for(tmp_path: Path):
    rows = [{"audio": "a.wav", "text": "x"}]
    for place in ("de/a.parquet", "de/data/b-00000-of-00001.parquet", "de/c/0000.parquet", "de/c/0001.parquet"):
        write_rows(tmp_path / place, *rows)
    write_rows(tmp_path / "data/d-00000-of-00001-0123456789abcdef.parquet", GOOD)

    assert [len(read(tmp_path, split=split)) for split in "abcd"] == [1, 1, 2, 1]
    with pytest.raises(ValueError, match=r"contains none of e/ \(with state.json or Parquet files\), e.parquet, e-000"):
        read(tmp_path, split="e")


def test_a_missing_shard_is_named(tmp_path: Path):
    path = write_rows(tmp_path / "train-00000-of-00002.parquet", GOOD)

    with pytest.raises(ValueError, match=f"{path}: shard 00001 of 00002 is missing; download it"):
        read(tmp_path)


def test_files_of_two_versions_are_both_named(tmp_path: Path):
    for count in (2, 4):
        write_rows(tmp_path / f"data/train-00000-of-{count:05d}.parquet", GOOD)

    with pytest.raises(ValueError, match=r"train-00000-of-00002.parquet and train-00000-of-00004.parquet; delete the"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("train/state.json", "test/state.json", "dataset_dict.json"), r"a DatasetDict with test, train; name the dir"),
        (("train-00000-of-00001.parquet", "test.parquet"), r"Parquet files of test and train; name the first file of"),
        (("data-00000-of-00001.arrow",), r"contains neither wav.scp \(Kaldi\) nor state.json nor Parquet files"),
    ],
)
def test_a_directory_that_is_not_one_split_is_refused(tmp_path: Path, files: tuple[str, ...], message: str):
    for name in files:
        write_text(tmp_path / "own" / name)

    (error,) = FORMAT.scan(tmp_path / "own")

    with pytest.raises(ValueError, match=message):
        raise error


def test_files_of_the_hubs_cache_are_links_to_names_without_a_suffix(tmp_path: Path):
    write_rows(tmp_path / "blobs/a.parquet", GOOD).rename(tmp_path / "blobs/a")
    snapshot = tmp_path / "snapshots/train.parquet"
    snapshot.parent.mkdir()
    snapshot.symlink_to("../blobs/a")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/train.parquet").symlink_to(snapshot)

    (utterance,) = read(tmp_path / "own")

    assert utterance.audio == f"{tmp_path.resolve()}/snapshots/train.parquet:000000000"
    assert utterance.id == "snapshots_train_000000000"


def test_data_of_another_program_may_have_categories_and_large_strings(tmp_path: Path):
    write_noise(tmp_path / "a.wav")
    columns = {
        "audio": pa.array(["a.wav"], pa.large_string()),
        "text": pa.array(["x"]).dictionary_encode(),
        "lang": pa.array(["de"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")

    (utterance,) = read(tmp_path)

    assert (utterance.audio, utterance.text) == (f"{tmp_path.resolve()}/a.wav", "x")


def test_the_metadata_of_labels_may_be_anything(tmp_path: Path):
    for number, metadata in enumerate(("{", "[]", json.dumps({"info": {"features": {"lang": {"names": 3}}}}))):
        table = pa.Table.from_pylist([GOOD | {"lang": 3}]).replace_schema_metadata({"huggingface": metadata})
        pq.write_table(table, tmp_path / f"{number}.parquet")
        with pytest.raises(ValueError, match="column 'lang': got int64, wanted text, or labels with names"):
            read(tmp_path, split=str(number))
