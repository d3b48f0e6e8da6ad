from pathlib import Path

import pytest

from tests.corpora.example import write_text
from tests.prepare.example import MLS_ROW, Recipe
from zipperasr.languages import LanguageTable
from zipperasr.prepare.dataset_table import load_corpora, load_datasets


@pytest.fixture
def table(recipe: Path) -> LanguageTable:
    return LanguageTable.load(recipe / "conf/languages.tsv")


def test_the_recipe_contains_table_1_in_both_settings(recipe: Path, table: LanguageTable):
    small = {
        row.language: row for row in load_datasets(recipe / "conf/datasets.tsv", "1h", table) if row.phase == "sft"
    }
    large = {
        row.language: row for row in load_datasets(recipe / "conf/datasets.tsv", "30h", table) if row.phase == "sft"
    }

    assert len(small) == len(large) == 12
    assert {row.train_hours for code, row in small.items() if code in ("ar", "ja", "ko", "pt")} == {1.0}
    assert (large["pt"].corpus, large["ko"].train_hours) == ("mls", 6.51)
    assert small["de"].train_list == "train/lite_1h/mls/train_mls_de_ids.txt"
    assert large["de"].train_list == "train/lite_30h/mls/train_mls_de_ids.txt"


def test_every_list_in_the_table_is_provided_by_the_authors(recipe: Path, table: LanguageTable):
    lines = (recipe / "conf/utt_ids.tsv").read_text().splitlines()
    published = {line.split("\t")[1] for line in lines if not line.startswith("#")}
    rows = [row for setting in ("1h", "30h") for row in load_datasets(recipe / "conf/datasets.tsv", setting, table)]
    named = {name for row in rows for name in (row.train_list, row.test_list) if name}

    assert named == published and len(published) == 31


def test_test_splits_have_different_set_names(recipe: Path, table: LanguageTable):
    rows = {(r.corpus, r.language): r for r in load_datasets(recipe / "conf/datasets.tsv", "1h", table)}

    assert rows["wenetspeech", "zh"].set_names()[2] == {
        "test_wenetspeech_zh_meeting": "test_meeting",
        "test_wenetspeech_zh_net": "test_net",
    }
    assert rows["commonvoice", "pt"].set_names() == (
        "train_commonvoice_pt",
        "dev_commonvoice_pt",
        {"test_commonvoice_pt": "train"},
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("sft", "SFT"), r"datasets.tsv:2: phase: got 'SFT', wanted align or sft"),
        (("both", "10h"), r"datasets.tsv:2: setting: got '10h', wanted 1h or 30h or both"),
        (("mls", "mlss"), r"datasets.tsv:2: unknown corpus 'mlss'; did you mean 'mls'"),
        (("de", "deu"), r"datasets.tsv:2: unknown language 'deu'; did you mean 'de'.*or add it to"),
        (("1000", "many"), r"datasets.tsv:2: got 'many', wanted hours"),
        (("14.29", "1,2"), r"datasets.tsv:2: got 2 test_hours for 1 test_splits"),
        (("14.29 ", ""), r"datasets.tsv:2: got 10 cells, wanted 11"),
    ],
)
def test_malformed_row_names_file_and_line(tmp_path: Path, table: LanguageTable, change: tuple, message: str):
    Recipe(tmp_path, MLS_ROW.replace(*change, 1))

    with pytest.raises(ValueError, match=message):
        load_datasets(tmp_path / "datasets.tsv", "1h", table)


def test_other_columns_and_settings_without_rows_are_errors(tmp_path: Path, table: LanguageTable):
    Recipe(tmp_path, MLS_ROW.replace("both", "30h"))
    with pytest.raises(ValueError, match=r"no row for setting '1h'"):
        load_datasets(tmp_path / "datasets.tsv", "1h", table)
    write_text(tmp_path / "datasets.tsv", "phase\tcorpus")
    with pytest.raises(ValueError, match=r"datasets.tsv:1: got columns \['phase', 'corpus'\], wanted"):
        load_datasets(tmp_path / "datasets.tsv", "1h", table)


@pytest.mark.parametrize("scale", ["mini", "full"])
def test_corpora_of_each_scale_have_roots(recipe: Path, table: LanguageTable, scale: str):
    path = recipe / "conf" / scale / "corpora.yaml"
    config = load_corpora(path)

    for row in load_datasets(recipe / "conf/datasets.tsv", "1h", table):
        assert config.root_of(row.corpus, path)
    assert config.table_hours == (scale == "full")


def test_invalid_corpora_yaml_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match=r"roots: 'mls': got 3, wanted str"):
        load_corpora(write_text(tmp_path / "c.yaml", "roots: {mls: 3}", "utt_ids: y"))
    with pytest.raises(ValueError, match=r"roots: got None, wanted keys and their values"):
        load_corpora(write_text(tmp_path / "c.yaml", "roots:", "utt_ids: y"))
    with pytest.raises(ValueError, match=r"unknown key 'utt_id'; did you mean 'utt_ids'"):
        load_corpora(write_text(tmp_path / "c.yaml", "roots: {mls: x}", "utt_id: y"))
    config = load_corpora(write_text(tmp_path / "c.yaml", "roots: {mls: x}", "utt_ids: y"))
    with pytest.raises(ValueError, match=r"c.yaml: no root for corpus 'msr86k'; add `msr86k: DIRECTORY`"):
        config.root_of("msr86k", tmp_path / "c.yaml")
