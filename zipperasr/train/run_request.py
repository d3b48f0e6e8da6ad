"""Train as requested, unless the training directory is up to date (stages 5 and 6).

In: `TrainingRequest`. Out: the training directory that run_training.py writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from zipperasr.atomic import is_current
from zipperasr.batching.augmenter import Augmenter
from zipperasr.cli import log
from zipperasr.model.experiment import CONFIG
from zipperasr.ranks import is_first_rank, log_once, rank_0_reports
from zipperasr.sole_writer import sole_writer
from zipperasr.train.request import TrainingRequest, TrainingSetup

if TYPE_CHECKING:
    from zipperasr.batching.batch import PackedBatch
    from zipperasr.model.speech_llm import SpeechLLM

    # model, phase, batch, mel frames of a chunk -> FLOPs
    BatchFlops = Callable[[SpeechLLM, str, PackedBatch, int | None], float]


def run_request(request: TrainingRequest, flops_of_batch: BatchFlops) -> None:
    """Train as requested, unless the training directory is up to date.

    flops_of_batch: counts the FLOPs of a training step on one batch, for MFU.

    Raises ValueError or OSError on rank 0 if the request is invalid; the other ranks exit with status 1. All ranks exit
    with status `TRY_AGAIN` if SIGTERM interrupts the training.
    """
    with rank_0_reports():
        setup = TrainingSetup.read(request)
    if is_current(request.out, setup.inputs, log_once) and (request.out / CONFIG).is_file():
        log(f"{request.out} is up to date")
        return
    with rank_0_reports():  # only now, because it opens every recording of the lists
        augmenter = Augmenter.make(setup.config.augment, setup.experiment.seed, setup.experiment.model.mel_bins)
    from zipperasr.train.run_training import run_training  # loads transformers, PEFT and DeepSpeed

    # Only rank 0 takes the lock: if it fails, the launcher ends the others.
    with sole_writer(request.out) if is_first_rank() else contextlib.nullcontext():
        run_training(setup, augmenter, flops_of_batch)
