"""Run one training of stage 5 or 6, alone or as one of several ranks.

In: `TrainingSetup`. Out: a training directory with config.yaml, run.json, model.safetensors (trained weights) and the
curves. An interrupted training resumes from its newest complete checkpoint.
"""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, distributed, nn

from zipperasr.atomic import atomic_path, mark_current
from zipperasr.audio.frontend import Frontend
from zipperasr.batching.augmenter import Augmenter
from zipperasr.batching.batch import PackedBatch
from zipperasr.batching.loader import ExampleReader, MicroBatches, TrainingPlan
from zipperasr.batching.packing import pack_epoch
from zipperasr.cli import log
from zipperasr.model.backbones import load_tokenizer
from zipperasr.model.checkpoint import save_trained, trained_state
from zipperasr.model.cpu_products import fast_products
from zipperasr.model.experiment import LANGUAGES, WEIGHTS
from zipperasr.model.experiment_model import build_for_training
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.ranks import cores_of_rank
from zipperasr.run_record import save_run
from zipperasr.train import continuation
from zipperasr.train.checkpoints import Checkpoints, SavedCheckpoint
from zipperasr.train.dev_loss import BEST
from zipperasr.train.early_warnings import data_warnings, end_token_warning
from zipperasr.train.engine import float32_weights, make_engine, restore_master_weights, start_ranks
from zipperasr.train.interruption import TRY_AGAIN, Interrupted
from zipperasr.train.loop import Trainer, TrainingData
from zipperasr.train.optim import LanguageAdamW
from zipperasr.train.request import TrainingSetup
from zipperasr.train.resume import CHECKPOINTS, newest_checkpoint, on_same_batches, resume
from zipperasr.train.schedule import Schedule
from zipperasr.train.throughput import ThroughputMeter, peak_tflops

# model, phase, batch, mel frames of a chunk -> FLOPs
BatchFlops = Callable[[SpeechLLM, str, PackedBatch, int | None], float]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def run_training(setup: TrainingSetup, augmenter: Augmenter | None, flops_of_batch: BatchFlops) -> None:
    """Train, and write the results.

    Args:
        augmenter: of the training utterances; None if they are not augmented.
        flops_of_batch: counts the FLOPs of a training step on one batch, for MFU.

    All ranks exit with status `TRY_AGAIN` if SIGTERM interrupts the training.
    """
    rank, world_size = start_ranks()
    torch.manual_seed(setup.experiment.seed)
    if setup.experiment.init_from and rank == 0:
        continuation.announce(setup.experiment)
    saved = newest_checkpoint(setup)
    if saved is not None:
        setup = on_same_batches(setup, saved, world_size)
    engine, optimiser = _build(setup)
    data = _training_data(setup, engine.module.encoder.frontend, augmenter, rank, world_size)
    if rank == 0:
        _announce(engine.module, data.plan, setup)
    trainer = _trainer(setup, engine, optimiser, data, flops_of_batch, saved)
    try:
        with fast_products(DTYPES[setup.config.precision]):
            state = trainer.run() or trained_state(engine.module)
    except Interrupted as interrupted:
        if rank == 0:
            log(f"{setup.request.out}: {interrupted}")
        raise SystemExit(TRY_AGAIN) from None
    if rank == 0:
        _finish(engine.module, state, setup)
    distributed.barrier()


def _build(setup: TrainingSetup) -> tuple[nn.Module, LanguageAdamW]:
    """The engine around the model to train, and its optimiser."""
    config, experiment = setup.config, setup.experiment
    model = build_for_training(experiment, DTYPES[config.precision], seed=experiment.seed)
    if config.compile:
        model.compile_layers()
    exact = float32_weights(model)
    engine, optimiser = make_engine(model, config)
    restore_master_weights(exact)
    return engine, optimiser


def _trainer(
    setup: TrainingSetup,
    engine: nn.Module,
    optimiser: LanguageAdamW,
    data: TrainingData,
    flops_of_batch: BatchFlops,
    saved: SavedCheckpoint | None,
) -> Trainer:
    """A trainer that resumes from the checkpoint `saved`, if there is one."""
    config, experiment, out = setup.config, setup.experiment, setup.request.out
    checkpoints = Checkpoints(out / CHECKPOINTS, engine)
    start_step, window = resume(checkpoints, saved, setup)
    meter = ThroughputMeter(
        experiment.model.max_positions,
        window,
        flops_of_batch=functools.partial(flops_of_batch, engine.module, experiment.phase),
        # With --init_from, fewer parts may be trained than the count assumes.
        peak_tflops=None if experiment.init_from else peak_tflops(config.precision),
    )
    return Trainer(
        config,
        engine,
        optimiser=optimiser,
        data=data,
        schedule=Schedule(len(data.plan), config, experiment.model, experiment.regime, experiment.seed),
        meter=meter,
        checkpoints=checkpoints,
        out=out,
        start_step=start_step,
    )


def _training_data(
    setup: TrainingSetup, frontend: Frontend, augmenter: Augmenter | None, rank: int, world_size: int
) -> TrainingData:
    config, model_config = setup.config, setup.experiment.model
    read = ExampleReader(
        load_tokenizer(model_config.llm),
        setup.languages,
        frontend,
        features=not config.features_on_device,
        edge_frames=model_config.edge_frames,
        trim_silence=model_config.trim_silence,
    )
    plan = TrainingPlan.make(
        setup.train,
        model_config.max_positions,
        config.packs_per_step(world_size),
        config.epochs,
        setup.experiment.seed,
        config.language_sampling,
        num_processes=cores_of_rank(),
        speeds=config.augment.speeds,
    )
    dev_packs = pack_epoch(setup.dev, model_config.max_positions, seed=0, epoch=0)
    return TrainingData(
        plan=plan,
        train=MicroBatches(setup.train, plan.batches, read, rank, world_size, config.accumulation, augmenter=augmenter),
        dev=MicroBatches(setup.dev, [[dev_packs[i]] for i in range(rank, len(dev_packs), world_size)], read),
        dev_languages=tuple(sorted({pack.language for pack in dev_packs})),
    )


def _announce(model: SpeechLLM, plan: TrainingPlan, setup: TrainingSetup) -> None:
    phase = setup.experiment.phase
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    num_trainable = sum(tensor.numel() for name, tensor in trained_state(model).items() if name in trainable)
    total = sum(parameter.numel() for parameter in model.parameters())
    adapted = f"; encoder LoRA on {len(model.adapters.layers)} linear layers" if model.adapters is not None else ""
    log(f"{phase}: training {num_trainable:,} of {total:,} parameters{adapted}")
    log(f"{phase}: {len(plan)} steps (per epoch: {list(plan.steps_per_epoch)}) -> {setup.request.out}")
    if setup.config.augment.active:
        log(f"{phase}: {setup.config.augment.described()}")
    experiment, tokenizer = setup.experiment, load_tokenizer(setup.experiment.model.llm)
    languages = () if experiment.init_from else experiment.languages
    notes = data_warnings(setup.train, languages, tokenizer, experiment.model.max_positions)
    for line in notes + end_token_warning(tokenizer, model.llm_family.end_ids(model.causal_lm)):
        log(f"{phase}: note: {line}")
    vocabulary = model.causal_lm.get_output_embeddings().weight.shape[0]
    log(f"{phase}: a uniform guess over {vocabulary:,} tokens has a loss of {math.log(vocabulary):.2f}")


def _finish(model: SpeechLLM, state: dict[str, Tensor], setup: TrainingSetup) -> None:
    """Write the results, the weights last, and remove the checkpoints."""
    out = setup.request.out
    setup.experiment.save(out)
    setup.languages.chosen(setup.experiment.languages).save(out / LANGUAGES)
    save_run(setup.run_record(), out)
    if model.adapters is not None and model.adapters.router is not None:
        with atomic_path(out / "router_final.json") as temporary:
            temporary.write_text(model.adapters.describe_router(), encoding="utf-8")
    save_trained(model, out / WEIGHTS, state)
    mark_current(out, setup.inputs, [WEIGHTS])
    for directory in (CHECKPOINTS, BEST):
        shutil.rmtree(out / directory, ignore_errors=True)
