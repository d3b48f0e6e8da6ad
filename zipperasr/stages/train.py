"""Stages 5 and 6: train the alignment, or adapt it to the target languages.

In: manifests, the phase's configuration, the backbones or the alignment it starts from. Out: a training directory with
config.yaml, model.safetensors (what was trained, nothing else), versions.json and the curves. Runs alone or under
torchrun or DeepSpeed's launcher; an interrupted training goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import distributed

from zipperasr.atomic import atomic_path, fingerprint, is_current, mark_current
from zipperasr.batching.loader import ExampleReader, MicroBatches, TrainingPlan
from zipperasr.batching.manifest import Manifest
from zipperasr.batching.packing import pack_epoch
from zipperasr.cli import log, parser, run_step
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.datadir.set_table import SetRow, read_sets
from zipperasr.languages import LanguageTable
from zipperasr.lid.embeddings import load_embeddings
from zipperasr.lora import VARIANTS, variant_class
from zipperasr.model.backbones import load_tokenizer
from zipperasr.model.build import PHASES
from zipperasr.model.checkpoint import save_trained, trained_state
from zipperasr.model.experiment import CONFIG, INITIAL_PARTS, LANGUAGES, WEIGHTS, Experiment, build_for_training
from zipperasr.model.model_config import REGIMES, ModelConfig
from zipperasr.sole_writer import sole_writer
from zipperasr.train import new_language
from zipperasr.train.best import BEST
from zipperasr.train.checkpoints import Checkpoints
from zipperasr.train.engine import make_engine, start_ranks
from zipperasr.train.interruption import TRY_AGAIN, Interrupted
from zipperasr.train.loop import Trainer
from zipperasr.train.master_weights import float32_weights, restore_master_weights
from zipperasr.train.train_config import TrainConfig
from zipperasr.train.versions import write_versions

CHECKPOINTS = "checkpoints"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--phase", choices=PHASES, required=True, help="align (stage 5) or sft (stage 6)")
    options.add_argument("--model", type=Path, default=None, help="model.yaml; not with --init_from, which has its own")
    options.add_argument("--config", type=Path, required=True, help="align.yaml or sft.yaml")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--manifest", type=Path, default=Path("dump/manifest"), help="stage 3's manifests")
    options.add_argument("--regime", choices=REGIMES, default=None, help="what the encoder sees at once [chunked]")
    options.add_argument("--lora", default=None, help=f"sft: the variant: {', '.join(VARIANTS)}")
    options.add_argument("--lid", type=Path, default=Path("exp/lid"), help="sft: stage 4's embeddings")
    options.add_argument("--lid_mode", choices=("token", "state"), default="token", help="sft: which of them")
    options.add_argument("--init", type=Path, default=None, help="sft: training directory of the alignment")
    options.add_argument("--initial_b", type=Path, default=None, help="sft: soft training whose B this one starts from")
    options.add_argument(
        "--initial_parts", nargs="+", choices=tuple(INITIAL_PARTS), default=["b"], help="sft: what is taken from it"
    )
    new_language.add_options(options)
    options.add_argument("--out", type=Path, required=True, help="training directory")
    options.add_argument("--seed", type=int, default=1, help="initialisation, packs, chunk lengths")
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings that override --config")
    options.add_argument("--local_rank", type=int, default=0, help=argparse.SUPPRESS)  # DeepSpeed's launcher sets it
    chosen = options.parse_args(argv)
    return run_step(_run, chosen, f"zipperasr.train {chosen.phase}")


def _run(options: argparse.Namespace) -> None:
    try:
        experiment, config, inputs = _read_configuration(options)
        _check_compiler(config)
        train = _manifests(options, "train")
        dev = _manifests(options, "dev")
    except (ValueError, OSError):
        if int(os.environ.get("RANK", "0")):
            raise SystemExit(1) from None  # all ranks read the same: rank 0 says what is wrong
        raise
    if is_current(options.out, inputs, _say_once) and (options.out / CONFIG).is_file():
        log(f"{options.out} is up to date")
        return
    first = not int(os.environ.get("RANK", "0"))  # of the ranks; launchers end the others if it fails
    with sole_writer(options.out) if first else contextlib.nullcontext():
        _train(options, experiment, config, train, dev, inputs)


def _train(
    options: argparse.Namespace,
    experiment: Experiment,
    config: TrainConfig,
    train: list[Manifest],
    dev: list[Manifest],
    inputs: dict[str, str],
) -> None:
    rank, world_size = start_ranks()
    torch.manual_seed(options.seed)
    if experiment.added and rank == 0:
        new_language.announce(experiment)
    model = build_for_training(experiment, DTYPES[config.precision], seed=options.seed)
    if config.compile:
        model.compile_layers()
    exact = float32_weights(model)
    engine, optimiser = make_engine(model, config)
    restore_master_weights(exact)
    del exact
    table = LanguageTable.load(options.languages)
    features = not config.features_on_device
    read = ExampleReader(
        load_tokenizer(experiment.model.llm), table, experiment.model.mel_bins, features, experiment.model.edge_frames
    )
    max_positions = experiment.model.max_positions
    packs = config.packs_per_batch * config.accumulation * world_size
    plan = TrainingPlan.make(train, max_positions, packs, config.epochs, options.seed, config.language_sampling)
    dev_packs = pack_epoch(dev, max_positions, seed=0, epoch=0)
    dev_batches = [[dev_packs[index]] for index in range(rank, len(dev_packs), world_size)]
    if rank == 0:
        _announce(model, plan, options)
    checkpoints = Checkpoints(options.out / CHECKPOINTS, engine)
    start_step, window = _resume(checkpoints, options.out, inputs, rank)
    trainer = Trainer(
        engine,
        optimiser,
        plan,
        MicroBatches(train, plan.batches, read, rank, world_size, config.accumulation),
        MicroBatches(dev, dev_batches, read) if len(dev_packs) else None,
        sorted({pack.language for pack in dev_packs}),
        config,
        experiment.model,
        experiment.regime,
        options.seed,
        options.out,
        checkpoints,
        start_step,
        window,
    )
    try:
        state = trainer.run() or trained_state(model)
    except Interrupted as stop:
        if rank == 0:
            log(f"{options.out}: {stop}")
        raise SystemExit(TRY_AGAIN) from None
    if rank == 0:
        _finish(model, state, experiment, table, options.out, inputs)
    distributed.barrier()


def _say_once(line: str) -> None:
    """All ranks find the same; rank 0 logs it."""
    if not int(os.environ.get("RANK", "0")):
        log(line)


def _read_configuration(options: argparse.Namespace) -> tuple[Experiment, TrainConfig, dict[str, str]]:
    config = load_yaml(TrainConfig, options.config, parse_overrides(options.set))
    table = LanguageTable.load(options.languages)
    experiment = new_language.extended(options, table, config) or _new_system(options, table)
    config = config.for_regime(experiment.regime)
    # a line for yet another language must not retrain a system that does not have it
    languages = [asdict(language) for language in table.chosen(experiment.languages)] if experiment.added else None
    inputs = fingerprint(
        experiment=experiment.to_tree(),
        train=config,
        **{row.set: options.manifest / f"{row.set}.arrow" for row in _own_sets(options)},
        languages=languages or options.languages,
        init=options.init / WEIGHTS if options.init else None,
        initial_b=options.initial_b / WEIGHTS if options.initial_b else None,
        lid=None if experiment.lid is None else experiment.lid.tolist(),
    )
    return experiment, config, inputs


def _new_system(options: argparse.Namespace, table: LanguageTable) -> Experiment:
    """What stage 5 or 6 trains where no language is added to a trained system."""
    if options.model is None:
        raise ValueError(f"--phase {options.phase} needs --model model.yaml")
    model_config = load_yaml(ModelConfig, options.model)
    lid = None
    if options.phase == "sft":
        if options.lora is None or options.init is None:
            raise ValueError("--phase sft needs --lora VARIANT and --init DIRECTORY of the alignment (stage 5)")
        if variant_class(options.lora).routed:
            lid = load_embeddings(options.lid, options.lid_mode, table.codes)
        Experiment.load(options.init)
        if options.initial_b is not None:
            Experiment.load(options.initial_b)
    return Experiment(
        phase=options.phase,
        regime=options.regime or REGIMES[0],
        lora=options.lora if options.phase == "sft" else None,
        init=str(options.init) if options.phase == "sft" else None,
        languages=tuple(table.codes),
        seed=options.seed,
        model=model_config,
        initial_b=str(options.initial_b) if options.initial_b else None,
        initial_parts=tuple(options.initial_parts) if options.initial_b else (),
        lid=lid,
    )


def _check_compiler(config: TrainConfig) -> None:
    compiler = os.environ.get("CXX", "g++")
    if config.compile and not shutil.which(compiler):
        raise ValueError(f"compile: torch.compile needs a C++ compiler, and {compiler} is not there; set compile=false")


def _own_sets(options: argparse.Namespace) -> list[SetRow]:
    """The train and dev sets of this phase: another phase's sets, or another setting's, do not retrain it.

    Where languages are added, theirs alone.
    """
    table = options.manifest / "sets.tsv"
    rows = [row for row in read_sets(table) if row.phase == options.phase and row.kind != "test"]
    return new_language.of_languages(rows, options.add_lang, table)


def _manifests(options: argparse.Namespace, kind: str) -> list[Manifest]:
    names = [row.set for row in _own_sets(options) if row.kind == kind]
    if kind == "train" and not names:
        raise ValueError(f"{options.manifest}/sets.tsv: no train set of phase {options.phase}; run stages 1 to 3")
    return [Manifest.open(options.manifest, name) for name in names]


def _announce(model, plan: TrainingPlan, options: argparse.Namespace) -> None:
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    trainable = sum(tensor.numel() for name, tensor in trained_state(model).items() if name in trains)
    total = sum(parameter.numel() for parameter in model.parameters())
    adapted = len(model.adapters.layers) if model.adapters is not None else 0
    log(f"{options.phase}: {trainable:,} of {total:,} parameters train; {adapted} encoder layers adapted")
    log(f"{options.phase}: {len(plan)} steps in epochs of {list(plan.steps_per_epoch)} -> {options.out}")


def _resume(checkpoints: Checkpoints, out: Path, inputs: dict[str, str], rank: int) -> tuple[int, dict[str, float]]:
    """Step and window of the newest whole checkpoint of the same inputs; what other inputs left is cleared away."""
    if is_current(checkpoints.directory, inputs, _say_once):
        step, window = checkpoints.load_newest()
        if rank == 0 and step:
            log(f"{out}: going on from step {step}")
        return step, window
    distributed.barrier()  # all ranks have looked before one clears away
    if rank == 0:
        shutil.rmtree(out, ignore_errors=True)
        checkpoints.directory.mkdir(parents=True)
        mark_current(checkpoints.directory, inputs)
    distributed.barrier()
    return 0, {}


def _finish(
    model, state: dict, experiment: Experiment, table: LanguageTable, out: Path, inputs: dict[str, str]
) -> None:
    experiment.save(out)
    table.chosen(experiment.languages).save(out / LANGUAGES)
    write_versions(out / "versions.json")
    if model.adapters is not None and model.adapters.router is not None:
        with atomic_path(out / "router_final.json") as temporary:
            temporary.write_text(model.adapters.describe_router(), encoding="utf-8")
    save_trained(model, out / WEIGHTS, state)
    mark_current(out, inputs, [WEIGHTS])
    for directory in (CHECKPOINTS, BEST):
        shutil.rmtree(out / directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
