"""`zipperasr new`: the files that it writes, and what it refuses; tests/recipe/test_own_data.py runs a recipe."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.corpora.example import write_noise, write_text
from tests.corpora.own_data_example import EMBEDDED, write_audio
from zipperasr.config import load_yaml
from zipperasr.corpora import read_corpus
from zipperasr.languages import LanguageTable
from zipperasr.own_data import new_recipe
from zipperasr.prepare.dataset_table import CorporaConfig, load_datasets


@pytest.fixture
def project(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `new` reads of a checkout."""
    for name in ("egs2/TEMPLATE", "egs2/zipper12/asr1/conf", "utils"):
        shutil.copytree(root / name, tmp_path / name, symlinks=True)
    shutil.copy(root / "egs2/zipper12/asr1/run.sh", tmp_path / "egs2/zipper12/asr1")
    monkeypatch.setattr(new_recipe, "PROJECT", tmp_path)
    return tmp_path


def write_list(path: Path, languages: dict[str | None, int]) -> Path:
    """A manifest with this many utterances of 1 s in each language."""
    lines = []
    for code, count in languages.items():
        for number in range(count):
            audio = f"{path.stem}/{code}{number}.wav"
            write_noise(path.parent / audio, seed=number)
            lines.append({"audio": audio, "text": "eins zwei", **({"lang": code} if code else {})})
    return write_text(path, *map(json.dumps, lines))


def new(project: Path, *options: str) -> int:
    return new_recipe.main(["calls", *options])


def lists(project: Path, **languages: dict[str | None, int]) -> list[str]:
    return [
        word
        for split, counts in languages.items()
        for word in (f"--{split}", str(write_list(project / "lists" / f"{split}-v1.jsonl", counts)))
    ]


def test_the_tables_and_the_configuration_name_the_data(project: Path):
    given = lists(project, train={"de": 3, "sw": 2}, dev={"de": 1}, test={"de": 1, "sw": 1})

    assert new(project, *given) == 0

    recipe = project / "egs2/calls/asr1"
    table = LanguageTable.load(recipe / "conf/languages.tsv")
    assert table["de"].prompt == "Bitte transkribiere den Audioinhalt in Text."
    assert (table["sw"].name, table["sw"].whisper_token, table["sw"].unit) == ("Swahili", "sw", "wer")
    german, swahili = load_datasets(recipe / "conf/datasets.tsv", "30h", table)
    assert (german.phase, german.corpus, german.reader, german.dev_split) == ("both", "calls", "jsonl", "dev")
    assert (swahili.dev_split, swahili.test_splits, swahili.train_hours) == ("held-out", ("test",), 0.001)
    for scale in ("mini", "full", "rehearsal"):
        config = load_yaml(CorporaConfig, recipe / "conf" / scale / "corpora.yaml")
        assert config.roots["calls"] == "own" and not config.table_hours
    assert (recipe / "own/train.jsonl").resolve() == project / "lists/train-v1.jsonl"
    assert "--scale full" in (recipe / "run.sh").read_text() and (recipe / "run.sh").stat().st_mode & 0o100
    assert yaml.safe_load((recipe / "conf/full/model.yaml").read_text())["whisper"] == "openai/whisper-large-v3"


def test_one_language_for_lists_that_name_none(project: Path):
    given = lists(project, train={None: 2}, test={None: 1})

    assert new(project, *given, "--lang", "th") == 0

    recipe = project / "egs2/calls/asr1"
    assert LanguageTable.load(recipe / "conf/languages.tsv").codes == ["th"]
    assert (recipe / "own/th/test.jsonl").is_file()


@pytest.mark.parametrize("name", EMBEDDED)
def test_data_sets_of_hugging_face_are_linked_with_all_their_files(project: Path, name: str):
    write_audio(project / "lists")
    reader, write = EMBEDDED[name]
    paths = {split: str(write(project / "lists", split)) for split in ("train", "test")}

    assert new(project, "--train", paths["train"], "--test", paths["test"]) == 0

    recipe = project / "egs2/calls/asr1"
    table = LanguageTable.load(recipe / "conf/languages.tsv")
    rows = load_datasets(recipe / "conf/datasets.tsv", "30h", table)
    assert [(row.reader, row.language) for row in rows] == [(reader, "de"), (reader, "es")]
    for row, count in zip(rows, (2, 1), strict=True):
        assert len(list(read_corpus(row.reader, recipe / "own", row.language, row.train_split))) == count
    links = sorted(path.name for path in (recipe / "own").iterdir())
    shards = [f"{split}-{number:05d}-of-00002.parquet" for split in ("test", "train") for number in range(2)]
    assert links == (["test", "train"] if name == "save_to_disk" else shards)


def test_a_language_that_whisper_does_not_know_takes_the_token_of_a_related_one(project: Path):
    given = lists(project, train={"de": 1, "gsw": 1}, test={"de": 1, "gsw": 1})

    assert new(project, *given, "--whisper_token", "gsw=de") == 0

    table = LanguageTable.load(project / "egs2/calls/asr1/conf/languages.tsv")
    assert (table["gsw"].whisper_token, table["gsw"].name) == ("de", "gsw")


def test_lists_that_share_utterances_are_refused(project: Path, capsys: pytest.CaptureFixture):
    path = str(write_list(project / "lists/one.jsonl", {"de": 2}))

    assert new(project, "--train", path, "--test", path) == 1

    assert "share 2 ids (first: lists_one_de0); remove utterances that are in both" in capsys.readouterr().err
    assert not (project / "egs2/calls").exists()


@pytest.mark.parametrize(
    ("languages", "options", "message"),
    [
        ({"train": {None: 1}, "test": {"de": 1}}, (), "1 utterances cannot be used, the first: "),
        ({"train": {"de": 1, "it": 1}, "test": {"de": 1}}, (), "no utterance in 'it'; add some, or remove 'it'"),
        (
            {"train": {"de": 1}, "dev": {"it": 1}, "test": {"de": 1}},
            (),
            "utterances in 'it', which has no training data",
        ),
        ({"train": {"tlh": 1}, "test": {"tlh": 1}}, (), "language 'tlh': Whisper has no token 'tlh'"),
        (
            {"train": {"de": 1, None: 1}, "test": {"it": 1}},
            ("--lang", "it"),
            "--lang it, but there are utterances in de",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_written(
    project: Path, languages: dict, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture
):
    assert new(project, *lists(project, **languages), *options) == 1

    assert message in capsys.readouterr().err
    assert not (project / "egs2/calls").exists()


def test_an_error_while_writing_leaves_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    before = sorted((project / "egs2").iterdir())
    given = lists(project, train={"de": 1}, test={"de": 1})

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(new_recipe, "_link", fail)
        assert new(project, *given) == 1

    assert "No space left on device" in capsys.readouterr().err
    assert sorted((project / "egs2").iterdir()) == before
    assert new(project, *given) == 0
    assert sorted((project / "egs2").iterdir()) == sorted([*before, project / "egs2/calls"])
    assert (project / "egs2/calls/asr1/asr.sh").is_file()


def test_other_errors(project: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    given = lists(project, train={"de": 1}, test={"de": 1})
    table = write_text(project / "lists/test.csv", "audio,text,lang", "test-v1/de0.wav,eins,de")
    assert new(project, *given[:2], "--test", str(table)) == 1
    assert "the lists have different formats" in capsys.readouterr().err
    assert new_recipe.main(["a/b", *given]) == 1
    assert "NAME: got 'a/b', wanted a letter, then letters, digits and underscores" in capsys.readouterr().err
    assert new(project, *given) == 0
    assert new(project, *given) == 1
    assert "already exists; choose another name" in capsys.readouterr().err
    monkeypatch.setattr(new_recipe, "PROJECT", project / "lists")
    assert new(project, *given) == 1
    assert "not a checkout of the project" in capsys.readouterr().err
