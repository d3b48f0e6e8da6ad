"""`zipperasr new --init_from`: the copy of the model, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.own_data.test_new_recipe import lists, new, project  # noqa: F401
from zipperasr.exchange import export
from zipperasr.languages import LanguageTable
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import load_model
from zipperasr.prepare.dataset_table import load_datasets

DATA = {"train": {"de": 2}, "test": {"de": 1, "es": 1}}


@pytest.mark.parametrize("form", ["directory", "bundle"])
def test_the_recipe_has_a_complete_copy_of_the_model(own_recipe: Path, project: Path, form: str, monkeypatch):  # noqa: F811
    source = own_recipe / "exp/sft_zipper_soft"
    if form == "bundle":
        path = own_recipe / "m.zip"
        assert export.main(["--model", str(source), "--format", "bundle", "--out", str(path)]) == 0
        source = path

    assert new(project, *lists(project, **DATA), "--init_from", str(source)) == 0

    (own_recipe / "exp").rename(own_recipe / "gone")
    recipe = project / "egs2/calls/asr1"
    experiment = Experiment.load(recipe / "exp_full/pretrained")
    assert load_model(recipe / "exp_full/pretrained").adapters.language_codes == experiment.languages
    table = LanguageTable.load(recipe / "conf/languages.tsv")
    assert table.codes == list(experiment.languages)
    spanish, german = load_datasets(recipe / "conf/datasets.tsv", "1h", table)
    assert (spanish.language, spanish.train_split, spanish.phase) == ("es", "-", "sft")
    assert (german.language, german.train_split, german.phase) == ("de", "train", "sft")
    assert "--init_from exp_full/pretrained" in (recipe / "run.sh").read_text(encoding="utf-8")
    assert [path.name for path in (recipe / "conf").iterdir() if path.is_dir()] == ["full"]
    model = yaml.safe_load((recipe / "conf/full/model.yaml").read_text(encoding="utf-8"))
    monkeypatch.chdir(recipe)
    assert Path(model["whisper"], "config.json").is_file() and Path(model["llm"], "config.json").is_file()


@pytest.mark.parametrize(
    ("source", "data", "message"),
    [
        ("align", DATA, "got an alignment, wanted the output directory of an adaptation (stage 6)"),
        ("sft_none", DATA, "has no encoder LoRA to train"),
        ("sft_zipper_soft", {"train": {"sw": 2}, "test": {"sw": 1}}, "the model does not know sw, only de, es, ja"),
        ("nothing", DATA, "nothing"),
    ],
)
def test_a_model_that_cannot_be_tuned_is_refused(own_recipe: Path, project: Path, source, data, message, capsys):  # noqa: F811
    assert new(project, *lists(project, **data), "--init_from", str(own_recipe / "exp" / source)) == 1

    assert message in capsys.readouterr().err
    assert not (project / "egs2/calls").exists()


def test_without_a_model_test_data_needs_training_data(project: Path, capsys):  # noqa: F811
    assert new(project, *lists(project, **DATA)) == 1
    assert "utterances in 'es', which has no training data; remove them" in capsys.readouterr().err
