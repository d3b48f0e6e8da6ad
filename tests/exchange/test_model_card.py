"""The model card of a bundle: huggingface_hub reads it back, with the scores and data of the recipe."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from local.mini import layouts
from tests.corpora.example import write_noise, write_text
from zipperasr.exchange import training_data
from zipperasr.exchange.bundle import HubIds, open_bundle, unpack_bundle, write_bundle
from zipperasr.model.experiment import weights_digest
from zipperasr.score.scores_table import SetScore, write_scores


def scored_set(corpus: str, code: str, unit: str, normaliser: str, rates: tuple[float, float, float]) -> SetScore:
    """rates: the error rate, and its interval."""
    return SetScore(
        *(f"test_{corpus}_{code}", "sft", corpus, code, unit, normaliser),
        *(3, 8, 1, 1, 0, 0, rates[0], 1, 0, 0, 4, 9, 1, 11.1111, *rates[1:], "utterance", 2),
        *(1, 0, 2, 0, 0.00123, 3),
    )


SCORES = (
    scored_set("mls", "de", "wer", "whisper", (7.004, 3.5, 11.25)),
    scored_set("commonvoice", "ja", "cer", "whisper", (20.0, 15.0, 25.0)),
    scored_set("commonvoice", "ja", "cer", "whisper_marks", (30.0, 0.0, 99.0)),
)


@pytest.fixture
def scored(own_recipe) -> Path:
    """The adaptation with the files of stages 1 and 8."""
    directory = own_recipe / "exp/sft_zipper_soft"
    (directory / "decode_greedy_full").mkdir()
    write_scores(directory / "decode_greedy_full" / "scores.tsv", SCORES)
    write_text(
        own_recipe / "data/sets.tsv",
        "set\tkind\tphase\tcorpus\tlanguage",
        *("train_mls_de\ttrain\tboth\tmls\tde", "train_fleurs_ja\ttrain\tsft\tfleurs\tja"),
        *("dev_mls_de\tdev\tsft\tmls\tde", "train_mls_es\ttrain\tsft\tmls\tes"),
    )
    rows = ("train_mls_de\t1.5", "train_fleurs_ja\t0.25", "dev_mls_de\t7", "train_mls_es\t9")
    write_text(own_recipe / "data/report.tsv", "set\thours", *rows)
    digests = {"train": "x", "train_mls_de": "x", "dev_mls_de": "x"}
    write_text(own_recipe / "exp/align/.inputs.json", json.dumps(digests))
    write_text(directory / ".inputs.json", json.dumps({**digests, "train_fleurs_ja": "x"}))
    return directory


def card(training: Path, out: Path, hub: HubIds | None = None) -> ModelCard:
    write_bundle(training, out, hub)
    return ModelCard.load(open_bundle(out) / "README.md")


def table_of(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its header."""
    lines = [line for line in text.partition(f"## {heading}\n")[2].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_hugging_face_reads_languages_scores_and_data_sets_back(scored, tmp_path):
    found = card(scored, tmp_path / "m.zip", HubIds(whisper="openai/whisper-large-v3"))
    data = found.data
    assert data.language == ["de", "es", "ja"]
    assert (data.library_name, data.pipeline_tag) == ("zipperasr", "automatic-speech-recognition")
    assert (data.license, data.license_link) == ("other", "LICENCES.md")
    assert data.base_model == ["openai/whisper-large-v3"]
    assert data.datasets == ["facebook/multilingual_librispeech", "google/fleurs"]
    assert data.metrics == ["cer", "wer"]
    assert data.model_name == "sft_zipper_soft"
    german, japanese = data.eval_results
    assert (german.metric_type, german.metric_value) == ("wer", 7.0)
    assert german.metric_args == {
        "low": 3.5,
        "high": 11.25,
        "normaliser": "whisper",
        "decoding": "decode_greedy_full",
    }
    assert german.dataset_type == "facebook/multilingual_librispeech"
    assert (german.dataset_name, german.dataset_args) == ("mls (German)", {"language": "de"})
    assert (japanese.metric_type, japanese.metric_value, japanese.dataset_type) == ("cer", 20.0, "commonvoice")


def test_the_header_has_the_fields_of_the_leaderboards_evaluation_block(scored, tmp_path):
    content = card(scored, tmp_path / "m.zip").content
    (entry,) = yaml.safe_load(content.split("---\n")[1])["model-index"]
    result = entry["results"][0]
    assert result["task"]["type"] == "automatic-speech-recognition"
    assert {"name", "type", "config", "split", "args"} == set(result["dataset"])
    assert [metric["type"] for metric in result["metrics"]] == ["wer"]


def test_tables_of_error_rates_and_training_data(scored, tmp_path):
    text = card(scored, tmp_path / "m.zip").text
    assert [row[-2:] for row in table_of(text, "Error rates")[:2]] == [["7.00", "3.50–11.25"], ["20.00", "15.00–25.00"]]
    assert table_of(text, "Training data") == [
        ["German", "mls", "alignment, adaptation", "1.50"],
        ["Japanese", "fleurs", "adaptation", "0.25"],
    ]
    assert "No training data is listed for Spanish." in text


def test_the_header_has_the_rates_of_greedy_search_in_the_trained_regime(scored, tmp_path):
    other = scored_set("mls", "de", "wer", "whisper", (1.0, 0.5, 1.5))
    for name in ("decode_beam5_full", "decode_greedy_chunked", "decode_greedy_full_tagged"):
        (scored / name).mkdir()
        write_scores(scored / name / "scores.tsv", [other])
    results = card(scored, tmp_path / "m.zip").data.eval_results
    assert [(row.metric_value, row.metric_args["decoding"]) for row in results] == [
        (7.0, "decode_greedy_full"),
        (20.0, "decode_greedy_full"),
    ]


def make_mini(recipe: Path, corpora: dict[str, str]) -> None:
    """Give a recipe the configuration of stage 0, and rename corpora of its sets."""
    write_text(recipe / "conf/mini/mini_corpora.yaml", "")
    sets = recipe / "data/sets.tsv"
    text = sets.read_text("utf-8")
    for old, new in corpora.items():
        text = text.replace(f"\t{old}\t", f"\t{new}\t")
    sets.write_text(text, "utf-8")


def test_synthetic_speech_is_named_as_such(scored, own_recipe, tmp_path):
    make_mini(own_recipe, {"fleurs": "commonvoice"})
    found = card(scored, tmp_path / "m.zip")
    assert found.data.datasets is None and "synthetic" in found.data.tags
    assert {result.dataset_type for result in found.data.eval_results} == {"synthetic"}
    assert "The test sets of commonvoice, mls are synthetic speech" in found.text
    assert "none of their recordings" in found.text


def test_data_of_a_user_beside_synthetic_corpora_do_not_make_these_real(scored, own_recipe, tmp_path):
    make_mini(own_recipe, {"fleurs": "mine"})
    found = card(scored, tmp_path / "m.zip")
    assert [row[:2] for row in table_of(found.text, "Training data")] == [
        ["German", "mls (synthetic)"],
        ["Japanese", "mine"],
    ]
    assert found.data.datasets is None and "synthetic" in found.data.tags


def test_real_corpora_beside_synthetic_ones_are_listed(scored, own_recipe, tmp_path):
    """Stage 0 does not make FLEURS."""
    make_mini(own_recipe, {})
    assert card(scored, tmp_path / "m.zip").data.datasets == ["google/fleurs"]


def test_stage_0_makes_the_corpora_that_are_called_synthetic():
    assert layouts.LAYOUTS.keys() == training_data.LAYOUTS


def test_own_data_at_mini_scale_are_not_called_synthetic(scored, own_recipe, tmp_path):
    """A recipe of `zipperasr new` has conf/mini too, but its corpus is the user's."""
    make_mini(own_recipe, {"fleurs": "mine", "mls": "mine"})
    rows = [dataclasses.replace(row, corpus="mine") for row in SCORES]
    write_scores(scored / "decode_greedy_full" / "scores.tsv", rows)
    found = card(scored, tmp_path / "m.zip")
    assert "synthetic" not in found.content and found.data.datasets is None


def test_without_tables_nothing_is_called_synthetic(own_recipe, tmp_path):
    write_text(own_recipe / "conf/mini/mini_corpora.yaml", "")
    found = card(own_recipe / "exp/sft_zipper_soft", tmp_path / "m.zip")
    assert "synthetic" not in found.content
    assert "The recipe's data directories were not there" in found.text


def test_data_of_a_bundle_that_was_fine_tuned_are_not_recorded(scored, own_recipe, tmp_path):
    write_bundle(own_recipe / "exp/sft_zipper_soft", tmp_path / "parent.zip")
    pretrained = own_recipe / "exp/pretrained"
    unpack_bundle(tmp_path / "parent.zip", pretrained)
    config = scored / "config.yaml"
    tree = yaml.safe_load(config.read_text(encoding="utf-8"))
    tuned = {"init": None, "init_from": "exp/pretrained", "init_from_weights": weights_digest(pretrained)}
    backbones = {name: f"exp/pretrained/backbones/{name}" for name in ("whisper", "llm")}
    config.write_text(yaml.safe_dump({**tree, **tuned, "model": {**tree["model"], **backbones}}), encoding="utf-8")
    text = card(scored, tmp_path / "m.zip").text
    assert [row[2] for row in table_of(text, "Training data")] == ["adaptation", "adaptation"]
    assert "Data of the training it started from: not recorded." in text
    assert "Data of this training" not in text


@pytest.mark.parametrize("rows", [("set\tseconds", "train_mls_de\t1"), ("set\thours", "train_mls_de\tlong"), ("set",)])
def test_a_malformed_table_of_hours_is_named(scored, own_recipe, tmp_path, rows):
    write_text(own_recipe / "data/report.tsv", *rows, "train_fleurs_ja")
    with pytest.raises(ValueError, match=r"/data/report.tsv: wanted columns set and hours, got .*; rerun stage 1"):
        card(scored, tmp_path / "m.zip")


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_fingerprint_is_named(scored, tmp_path, content):
    write_text(scored / ".inputs.json", content)
    with pytest.raises(ValueError, match=r"/exp/sft_zipper_soft/.inputs.json: not a JSON object; restore the file"):
        card(scored, tmp_path / "m.zip")


def test_a_model_without_scores_and_data_says_so(own_recipe, tmp_path):
    config = own_recipe / "exp/sft_vanilla/config.yaml"
    tree = yaml.safe_load(config.read_text(encoding="utf-8"))
    config.write_text(yaml.safe_dump({**tree, "longest_s": 8.75}), encoding="utf-8")
    found = card(own_recipe / "exp/sft_vanilla", tmp_path / "m.zip")
    assert found.data.eval_results is None and found.data.base_model is None
    assert "exported without scores" in found.text
    assert "The recipe's data directories were not there" in found.text
    assert "Longest training clips: 8.75 s" in found.text


@pytest.mark.parametrize("form", ["zip", "directory"])
def test_the_example_of_use_runs(own_recipe, tmp_path, monkeypatch, capsys, form):
    text = card(own_recipe / "exp/sft_vanilla", tmp_path / "m.zip").text
    place = tmp_path / "path/to/model"
    place.parent.mkdir(parents=True)
    (unpack_bundle if form == "directory" else shutil.copy)(tmp_path / "m.zip", place)
    write_noise(tmp_path / "speech.wav", 0.5)
    monkeypatch.chdir(tmp_path)
    code = text.partition("```python\n")[2].partition("```")[0]
    assert len(list(filter(None, code.splitlines()))) == 3
    exec(code, {})
    assert capsys.readouterr().out.endswith("\n")
