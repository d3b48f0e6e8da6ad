"""An alignment and its adaptation with non-zero adapters, written as stages 5 and 6 write them."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.model import tiny
from tests.model.test_experiment import finish
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import build_for_training
from zipperasr.model.model_config import ModelConfig


def finished_training(config: ModelConfig, here: Path) -> Path:
    """Write both below `here`; returns the directory of the adaptation."""
    align = Experiment("align", "chunked", None, None, tiny.CODES, 1, config)
    finish(align, tiny.align_model(config), here / "align")
    lid = tiny.lid_embeddings()
    sft = Experiment("sft", "chunked", "zipper_soft", str(here / "align"), tiny.CODES, 1, config, lid=lid)
    model = build_for_training(sft, torch.float32, seed=1)
    tiny.shake_adapters(model)
    finish(sft, model, here / "sft")
    tiny.table().chosen(tiny.CODES).save(here / "sft" / "languages.tsv")
    return here / "sft"
