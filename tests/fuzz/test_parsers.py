"""No parser answers a spoiled file with a traceback: it reads it, or raises ValueError or OSError that names a file.

The examples are the same in every run. `HYPOTHESIS_EXAMPLES=20000 pytest tests/fuzz` looks further.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.corpora import example
from tests.fuzz.spoil import spoiled
from zipperasr.corpora import read_corpus
from zipperasr.corpora.utterance import numbered_lines
from zipperasr.data.datasets import load_corpora, load_datasets
from zipperasr.data.lists import read_list
from zipperasr.data.sets import SetRow, read_sets, write_sets
from zipperasr.datadir.blocks import blocks
from zipperasr.datadir.entry import Entry, key_and_value, read_table
from zipperasr.datadir.read import read_data_dir
from zipperasr.datadir.validate import validate_data_dir
from zipperasr.datadir.write import write_data_dir
from zipperasr.languages import LanguageTable

FURTHER = os.environ.get("HYPOTHESIS_EXAMPLES")
looked_into = settings(
    max_examples=int(FURTHER or 150),
    derandomize=not FURTHER,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
TIMES = [(0.5, 2.0), (3.0, 5.25)]


def mls(base: Path) -> Path:
    return example.write_mls(base, {"train": ["1_2_3", "1_2_4"]}) / "mls_german/train"


def common_voice(base: Path) -> Path:
    example.write_common_voice(base, {"train": [("ab" * 20, "c_1.mp3", "Ein Satz."), ("cd" * 20, "c_2.mp3", "مرحبا")]})
    example.write_text(base / "ar/clip_durations.tsv", "clip\tduration[ms]", "c_1.mp3\t1500", "c_2.mp3\t2500")
    return base / "ar"


def librispeech(base: Path) -> Path:
    return example.write_librispeech(base, {"dev-clean": ["1-2-3", "1-2-4"]}) / "LibriSpeech/dev-clean/1/2"


def recordings(base: Path, name: str, **extra: object) -> Path:
    audios = [example.recording("Y1", "audio/Y1.opus", TIMES, **extra), example.recording("Y2", "audio/Y2.opus", TIMES)]
    return example.write_recordings(base / name, audios).parent


def msr86k_lines(base: Path) -> Path:
    example.write_text(
        base / "ru/dev.jsonl",
        '{"id": "v1_0", "audio": "wav/v1_0.wav", "text": "да", "duration": 1.5}',
        '{"id": "v1_1", "audio": "wav/v1_1.wav", "text": "нет", "duration": 2}',
    )
    return base / "ru"


def msr86k_table(base: Path) -> Path:
    example.write_text(
        base / "ru/dev.tsv", "id\tpath\tsentence\tdur", "v1_0\tv1_0.wav\tда\t1.5", "v1_1\tv1_1.wav\tнет\t2"
    )
    return base / "ru"


def msr86k_kaldi(base: Path) -> Path:
    example.write_text(base / "ru/dev/text", "v1_0 да", "v1_1 нет")
    example.write_text(base / "ru/dev/wav.scp", "v1_0 wav/v1_0.wav", "v1_1 wav/v1_1.wav")
    return base / "ru/dev"


def wenetspeech(base: Path) -> Path:
    return recordings(base, "WenetSpeech.json", subsets=["L"])


# how a good corpus is written, the files to spoil, and how it is read
CORPORA: dict[str, tuple[Callable[[Path], Path], str, tuple[str, str, str]]] = {
    "mls transcripts": (mls, "transcripts.txt", ("mls", "de", "train")),
    "mls segments": (mls, "segments.txt", ("mls", "de", "train")),
    "commonvoice table": (common_voice, "train.tsv", ("commonvoice", "ar", "train")),
    "commonvoice durations": (common_voice, "clip_durations.tsv", ("commonvoice", "ar", "train")),
    "librispeech": (librispeech, "1-2.trans.txt", ("librispeech", "en", "dev-clean")),
    "wenetspeech": (wenetspeech, "WenetSpeech.json", ("wenetspeech", "zh", "L")),
    "msr86k json": (lambda base: recordings(base / "ru", "dev.json"), "dev.json", ("msr86k", "ru", "dev")),
    "msr86k lines": (msr86k_lines, "dev.jsonl", ("msr86k", "ru", "dev")),
    "msr86k table": (msr86k_table, "dev.tsv", ("msr86k", "ru", "dev")),
    "msr86k text": (msr86k_kaldi, "text", ("msr86k", "ru", "dev")),
    "msr86k wav.scp": (msr86k_kaldi, "wav.scp", ("msr86k", "ru", "dev")),
}


@pytest.mark.parametrize("name", CORPORA)
def test_corpus_readers(tmp_path: Path, name: str):
    write, spoiled_file, how = CORPORA[name]
    path = write(tmp_path) / spoiled_file
    assert list(read_corpus(how[0], tmp_path, *how[1:]))
    survives(path, lambda: sound(read_corpus(how[0], tmp_path, *how[1:])), tmp_path)


def sound(utterances) -> None:
    """What a reader yields can become a data directory."""
    for utterance in utterances:
        assert utterance.id and not set(utterance.id) & set(" \t\n/")
        assert utterance.speaker and not set(utterance.speaker) & set(" \t\n/")
        assert ".." not in Path(utterance.audio).parts and "\n" not in utterance.audio
        for seconds in (utterance.duration_s, utterance.start_s, utterance.end_s):
            assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    "name", ["text", "utt2spk", "spk2utt", "utt2lang", "utt2dur", "utt2repeat", "wav.scp", "segments"]
)
def test_data_directories(tmp_path: Path, name: str):
    entries = [Entry(f"s1-{n}", "s1", "a.flac", "guten tag", "de", 1.0, 1, float(n), n + 1.0) for n in range(3)]
    write_data_dir(tmp_path / "dir", entries)
    assert validate_data_dir(tmp_path / "dir") == 3 and len(read_data_dir(tmp_path / "dir")) == 3

    def read() -> None:
        validate_data_dir(tmp_path / "dir")
        read_data_dir(tmp_path / "dir")

    survives(tmp_path / "dir" / name, read, tmp_path)
    survives(tmp_path / "dir" / name, lambda: read_table(tmp_path / "dir" / name), tmp_path)


@pytest.mark.parametrize("block_bytes", [8, 1 << 20])
def test_table_blocks(tmp_path: Path, block_bytes: int):
    """What they read, the line-by-line reader reads as well, and the same."""
    path = example.write_text(tmp_path / "text", "s1-a guten tag", "s1-b", "s2-c ä 你好 กิน")

    def read() -> None:
        found = list(blocks(path, block_bytes))
        rows = [row for block in found for row in zip(block.keys.to_pylist(), block.values.to_pylist(), strict=True)]
        assert rows == [key_and_value(line) for _, line in numbered_lines(path)]

    read()
    survives(path, read, tmp_path)


def test_utterance_lists(tmp_path: Path):
    survives(
        example.write_text(tmp_path / "list.txt", "a_1", "b_2", "b_2"),
        lambda: read_list(tmp_path / "list.txt"),
        tmp_path,
    )


def test_set_tables(tmp_path: Path):
    write_sets(tmp_path / "sets.tsv", [SetRow("train_mls_de", "train", "sft", "mls", "de")])
    survives(tmp_path / "sets.tsv", lambda: read_sets(tmp_path / "sets.tsv"), tmp_path)


def test_language_tables(tmp_path: Path, recipe: Path):
    path = tmp_path / "languages.tsv"
    path.write_bytes((recipe / "conf/languages.tsv").read_bytes())
    survives(path, lambda: LanguageTable.load(path), tmp_path)


def test_data_set_tables(tmp_path: Path, recipe: Path):
    languages = LanguageTable.load(recipe / "conf/languages.tsv")
    path = tmp_path / "datasets.tsv"
    path.write_bytes((recipe / "conf/datasets.tsv").read_bytes())
    survives(path, lambda: load_datasets(path, "1h", languages), tmp_path)


def test_corpora_settings(tmp_path: Path, recipe: Path):
    path = tmp_path / "corpora.yaml"
    path.write_bytes((recipe / "conf/mini/corpora.yaml").read_bytes())
    survives(path, lambda: load_corpora(path), tmp_path)


def survives(path: Path, read: Callable[[], object], base: Path) -> None:
    """Spoil `path` again and again; what `read` raises must name a file below `base`."""
    good = path.read_bytes()

    @looked_into
    @given(st.data())
    def look(data) -> None:
        path.write_bytes(data.draw(spoiled(good)))
        try:
            read()
        except (ValueError, OSError) as error:
            assert str(base) in str(error), f"names no file: {error!r}"

    try:
        look()
    finally:
        path.write_bytes(good)
