from pathlib import Path

import pytest

from tests.corpora.example import write_text
from tests.prepare.example import MLS_ROW, Recipe
from zipperasr.plan.inventory import check_inventory, format_inventory, take_inventory


def inventory(recipe: Recipe, weights: list[str]):
    base = recipe.base
    return take_inventory(base / "datasets.tsv", base / "languages.tsv", base / "corpora.yaml", weights)


def test_existing_and_missing_items_are_distinguished(tmp_path: Path):
    recipe = Recipe(tmp_path, MLS_ROW, "align msr86k ru both train 3000 held-out dev 8 - -")
    recipe.write_mls()
    recipe.write_list("train/lite_1h/de.txt", ["15_7_000000"])
    write_text(tmp_path / "llm/model.safetensors", "x")
    write_text(tmp_path / "encoder/config.json", "{}")

    items = {item.name: item for item in inventory(recipe, [str(tmp_path / "llm"), str(tmp_path / "encoder")])}

    assert items["mls de"].state == "present"
    assert items["msr86k ru"].blocks and "ask for access" in items["msr86k ru"].place
    assert items["train/lite_1h/de.txt"].state == "present"
    assert items["train/lite_30h/de.txt"].state == "missing, will be sampled"
    assert items[str(tmp_path / "llm")].state == "present"
    assert "none of model.safetensors" in items[str(tmp_path / "encoder")].place


def test_split_without_audio_or_transcripts_is_missing(tmp_path: Path):
    recipe = Recipe(tmp_path)
    recipe.write_mls()
    (tmp_path / "mls/mls_german/test/transcripts.txt").unlink()
    (tmp_path / "mls/mls_german/dev/audio/20/7/20_7_000000.flac").unlink()

    item = inventory(recipe, [])[0]

    assert item.name == "mls de: dev, test" and item.blocks and "no such audio file" in item.place


def test_a_hub_id_that_is_not_cached_comes_with_the_download_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    recipe = Recipe(tmp_path)

    item = inventory(recipe, ["some/model-that-is-not-here"])[-1]

    assert item.blocks and item.place.startswith("hf download some/model-that-is-not-here")


def test_a_backbone_that_is_neither_directory_nor_hub_id_is_missing(tmp_path: Path):
    item = inventory(Recipe(tmp_path), ["a/b/c"])[-1]

    assert item.blocks and item.place == "a/b/c: no such directory; correct the path in model.yaml"


def test_table_is_printed_before_the_error(tmp_path: Path, capsys: pytest.CaptureFixture):
    base = Recipe(tmp_path).base

    with pytest.raises(ValueError, match=r"1 of 3 items are missing \(first: corpus mls de\)"):
        check_inventory(base / "datasets.tsv", base / "languages.tsv", base / "corpora.yaml", [])

    header, first, *_ = capsys.readouterr().out.splitlines()
    assert header.split() == ["kind", "name", "state", "place", "or", "remedy"]
    assert first.startswith("corpus  mls de")


def test_columns_are_aligned(tmp_path: Path):
    recipe = Recipe(tmp_path)
    recipe.write_mls()

    lines = format_inventory(inventory(recipe, [])).splitlines()

    assert len({line.index("missing") for line in lines if "missing" in line} | {lines[0].index("state")}) == 1
