"""A training directory can be opened from any working directory, with everything that inference needs."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch

from tests.model import tiny
from tests.model.test_experiment import align_experiment, finish
from zipperasr.batching.batch import collate
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import build_for_training


@pytest.fixture
def recipe_dir(config, tmp_path, monkeypatch):
    """A recipe whose trainings refer to models by relative paths, as stages 5 and 6 do. Returns it and the model."""
    here = tmp_path / "recipe"
    (here / "exp").mkdir(parents=True)
    for name in ("whisper", "llm"):
        os.symlink(getattr(config, name), here / "exp" / name)
    config = replace(config, whisper="exp/whisper", llm="exp/llm")
    monkeypatch.chdir(here)
    finish(
        align_experiment(config), build_for_training(align_experiment(config), torch.float32, seed=1), here / "exp/a"
    )
    sft = Experiment("sft", "full", "zipper_soft", "exp/a", tiny.CODES, 1, config, lid=tiny.lid_embeddings())
    model = build_for_training(sft, torch.float32, seed=1).eval()
    tiny.shake_adapters(model)
    finish(sft, model, here / "exp/b")
    tiny.table().save(here / "exp/b/languages.tsv")
    return here, model


def test_it_opens_from_another_directory(recipe_dir, monkeypatch, tmp_path):
    here, model = recipe_dir
    monkeypatch.chdir(tmp_path)
    opened = load_pretrained(here / "exp/b")
    assert not opened.model.training
    assert opened.languages.codes == list(tiny.CODES)
    batch = collate(tiny.two_packs())
    assert torch.equal(opened.model.packed_logits(batch, 50), model.packed_logits(batch, 50))
    assert opened.tokenizer("x")["input_ids"]


def test_a_missing_language_table_is_an_error_with_a_remedy(recipe_dir):
    here, _ = recipe_dir
    (here / "exp/b/languages.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"languages.tsv: missing; copy the recipe's conf/languages.tsv there"):
        load_pretrained(here / "exp/b")


def test_a_hub_id_is_not_looked_up_as_a_path(config, tmp_path):
    from zipperasr.model.experiment import located

    experiment = align_experiment(replace(config, llm="Qwen/Qwen3-1.7B"))
    assert located(experiment, tmp_path).model.llm == "Qwen/Qwen3-1.7B"


def test_paths_near_the_training_have_priority_over_the_working_directory(config, tmp_path, monkeypatch):
    from zipperasr.model.experiment import located

    for place in ("here", "there"):
        (tmp_path / place / "exp/llm").mkdir(parents=True)
    (tmp_path / "there/exp/a").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    experiment = align_experiment(replace(config, llm="exp/llm"))
    assert located(experiment, tmp_path / "there/exp/a").model.llm == str(tmp_path / "there/exp/llm")
    assert located(experiment, tmp_path).model.llm == "exp/llm"
