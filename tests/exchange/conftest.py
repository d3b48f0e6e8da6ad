"""A recipe with tiny backbones: an alignment and an adaptation with every --lora, as stages 5 and 6 write them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import kaldiio
import pytest
import torch

from tests.model import tiny
from zipperasr.lora import LORA_CHOICES
from zipperasr.model.checkpoint import save_trained
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import build_for_training
from zipperasr.model.speech_llm import SpeechLLM

BACKBONES = {"whisper": "exp/backbones/whisper", "llm": "exp/backbones/llm"}


@pytest.fixture(scope="session")
def recipe_dir(tmp_path_factory) -> Path:
    """A directory with exp/{backbones,lid,align,sft_VARIANT} and conf; all paths are relative to it."""
    here = tmp_path_factory.mktemp("recipe")
    tiny.write_backbones(here / "exp" / "backbones")
    config = tiny.model_config(here / "exp" / "backbones")
    (here / "exp" / "lid").mkdir()
    vectors = dict(zip(tiny.CODES, tiny.lid_embeddings().repeat(1, 2)[:, : tiny.D_ENCODER].numpy(), strict=True))
    kaldiio.save_ark(str(here / "exp/lid/lid_token.ark"), vectors, scp=str(here / "exp/lid/lid_token.scp"))
    align = Experiment("align", "full", None, None, tiny.CODES, 1, config)
    model = build_for_training(align, torch.float32, seed=1)
    shake_all(model)
    finish(align, model, here / "exp" / "align")
    lid = torch.stack([torch.tensor(vectors[code]) for code in tiny.CODES])
    for variant in LORA_CHOICES:
        sft = Experiment("sft", "full", variant, str(here / "exp/align"), tiny.CODES, 1, config, lid=lid)
        model = build_for_training(sft, torch.float32, seed=1)
        tiny.shake_adapters(model)
        finish(sft, model, here / "exp" / f"sft_{variant}")
    return here


@torch.no_grad()
def shake_all(model: SpeechLLM) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn_like(parameter) * 0.1)


def finish(experiment: Experiment, model: SpeechLLM, directory: Path) -> None:
    """Write the output of a finished training, with paths relative to the recipe."""
    directory.mkdir()
    init = "exp/align" if experiment.init else None
    replace(experiment, init=init, model=replace(experiment.model, **BACKBONES)).save(directory)
    save_trained(model, directory / "model.safetensors")
    tiny.table().chosen(tiny.CODES).save(directory / "languages.tsv")


@pytest.fixture
def own_recipe(recipe_dir, tmp_path) -> Path:
    """A writable copy of the recipe."""
    return Path(shutil.copytree(recipe_dir, tmp_path / "recipe"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Unpack bundles outside the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
