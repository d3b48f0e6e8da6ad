"""The full-size model on the meta device, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from zipperasr.config import load_yaml
from zipperasr.dry_run.architecture import with_local_backbones
from zipperasr.dry_run.memory import TrainingSetUp
from zipperasr.dry_run.parameters import build_phases
from zipperasr.dry_run.steps import AssumedSpeech
from zipperasr.model.config import ModelConfig
from zipperasr.train.config import TrainConfig


@pytest.fixture(scope="session")
def full_config(recipe: Path) -> ModelConfig:
    """conf/full/model.yaml, with the architectures that ship beside it."""
    model_yaml = recipe / "conf" / "full" / "model.yaml"
    return with_local_backbones(load_yaml(ModelConfig, model_yaml), model_yaml)


@pytest.fixture(scope="session")
def full_model(full_config: ModelConfig):
    """(model, sizes) of zipper_soft in two languages."""
    return build_phases(full_config, "zipper_soft", ["de", "ja"])


@pytest.fixture
def setup(full_model, full_config: ModelConfig) -> TrainingSetUp:
    """Stage 2 on four GPUs, as the paper has it."""
    model, sizes = full_model
    train = TrainConfig(epochs=1, packs_per_batch=16)
    return TrainingSetUp(model, full_config, "sft", sizes["sft"], train, "chunked", 4, AssumedSpeech())
