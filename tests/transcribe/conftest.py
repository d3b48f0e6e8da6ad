"""A tiny trained model, opened once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.model import tiny
from tests.model.conftest import backbones
from tests.model.test_experiment import align_experiment, finish
from zipperasr.align.aligner import Aligner, AlignerConfig
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.model.experiment import Experiment, weights_digest
from zipperasr.model.experiment_model import build_for_training
from zipperasr.transcribe import Transcriber

__all__ = ["backbones"]

SHORT = DecodeConfig(tokens_per_s=4.0, tokens_floor=4, batch_size=4, batch_positions=4096, retry_loops=True)


@pytest.fixture(scope="session")
def trained(backbones, tmp_path_factory) -> Path:
    return write_trained(backbones, tmp_path_factory.mktemp("exp"))


def write_trained(backbones: Path, directory: Path) -> Path:
    """Write a training directory as stage 6 does, and its alignment, into `directory`."""
    config = tiny.model_config(backbones, lid_window_s=0.0)
    alignment = align_experiment(config)
    finish(alignment, build_for_training(alignment, torch.float32, seed=1), directory / "align")
    settings = (str(directory / "align"), tiny.CODES, 1, config)
    experiment = Experiment("sft", "chunked", "zipper_soft", *settings, lid=tiny.lid_embeddings())
    model = build_for_training(experiment, torch.float32, seed=1)
    tiny.shake_adapters(model)
    finish(experiment, model, directory / "sft")
    tiny.table().save(directory / "sft" / "languages.tsv")
    sizes = {"width": tiny.D_ENCODER, "hidden": 8, "kernel": 3, "prior": 0.5, "characters": "abcdefghij"}
    torch.manual_seed(3)
    Aligner(AlignerConfig(model=weights_digest(directory / "sft"), **sizes)).save(directory / "sft")
    return directory / "sft"


@pytest.fixture(scope="session")
def transcriber(trained) -> Transcriber:
    return Transcriber.from_pretrained(trained, "cpu", SHORT)


@pytest.fixture(scope="session")
def timing(trained) -> Transcriber:
    """With times of words."""
    return Transcriber.from_pretrained(trained, "cpu", SHORT, words=True)


@pytest.fixture(scope="module")
def own(trained) -> Transcriber:
    """Pieces of at most 8 s, four at the same time."""
    opened = Transcriber.from_pretrained(trained, "cpu").opened
    short = dataclasses.replace(opened, experiment=dataclasses.replace(opened.experiment, longest_s=8.0))
    return Transcriber(short, SHORT)
