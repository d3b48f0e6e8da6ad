"""A tiny model on disk, the same model opened once, and a server for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.model import tiny
from tests.model.test_experiment import align_experiment, finish
from tests.serve.live import NAME, Live, running
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import build_for_training
from zipperasr.serve.limits import Limits
from zipperasr.serve.service import Service
from zipperasr.transcribe import Transcriber


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory) -> Path:
    """A finished training of the tiny model with a router."""
    here = tmp_path_factory.mktemp("serve")
    tiny.write_backbones(here)
    config = tiny.model_config(here)
    align = align_experiment(config)
    finish(align, build_for_training(align, torch.float32, seed=1), here / "align")
    sft = Experiment(
        "sft", "full", "zipper_soft", str(here / "align"), tiny.CODES, 1, config, lid=tiny.lid_embeddings()
    )
    model = build_for_training(sft, torch.float32, seed=1)
    tiny.shake_adapters(model)
    finish(sft, model, here / NAME)
    tiny.table().save(here / NAME / "languages.tsv")
    return here / NAME


@pytest.fixture(scope="session")
def transcriber(model_dir: Path) -> Transcriber:
    return Transcriber.from_pretrained(model_dir, "cpu")


@pytest.fixture(scope="session")
def chunked(model_dir) -> Transcriber:
    """The model with chunks of 0.5 s."""
    opened = Transcriber.from_pretrained(model_dir, "cpu").opened
    model = dataclasses.replace(opened.experiment.model, decode_chunk_s=0.5)
    experiment = dataclasses.replace(opened.experiment, model=model)
    return Transcriber(dataclasses.replace(opened, experiment=experiment), regime="chunked")


@pytest.fixture(scope="session")
def live(transcriber: Transcriber) -> Iterator[Live]:
    """Small limits: 1 MB, 20 s."""
    with running(Service(transcriber, NAME, Limits(max_mb=1, max_s=20))) as server:
        yield server
