"""The full-size model on the meta device, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from zipperasr.config import load_yaml
from zipperasr.model.model_config import ModelConfig
from zipperasr.plan.memory import TrainingSetUp
from zipperasr.plan.parameters import build_phases, with_local_backbones
from zipperasr.plan.steps import AssumedSpeech
from zipperasr.train.train_config import TrainConfig


@pytest.fixture(scope="session")
def full_config(recipe: Path) -> ModelConfig:
    """conf/full/model.yaml, with the architectures shipped with it."""
    model_yaml = recipe / "conf" / "full" / "model.yaml"
    return with_local_backbones(load_yaml(ModelConfig, model_yaml), model_yaml)


@pytest.fixture(scope="session")
def full_model(full_config: ModelConfig):
    """(model, sizes) of zipper_soft in two languages."""
    return build_phases(full_config, "zipper_soft", ["de", "ja"])


@pytest.fixture
def setup(full_model, full_config: ModelConfig) -> TrainingSetUp:
    """Adaptation on four GPUs, as in the paper."""
    model, sizes = full_model
    train = TrainConfig(epochs=1, packs_per_batch=16)
    return TrainingSetUp(model, full_config, "sft", sizes["sft"], train, "chunked", 4, AssumedSpeech())
