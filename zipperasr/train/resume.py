"""Where a training starts: at its newest checkpoint, or at step 0 if there is none for the same inputs.

In: `TrainingSetup`, the number of processes. Out: the setup with the checkpoint's global batch, the loaded step.
"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

from torch import distributed

from zipperasr.atomic import FINGERPRINT, is_current, mark_current, read_record
from zipperasr.cli import log
from zipperasr.model.experiment import WEIGHTS
from zipperasr.ranks import log_once, rank_0_reports
from zipperasr.train.checkpoints import Checkpoints, SavedCheckpoint
from zipperasr.train.request import TrainingSetup
from zipperasr.train.throughput import Window

CHECKPOINTS = "checkpoints"
REPLACED = ".replaced"  # directory beside the trainings


def newest_checkpoint(setup: TrainingSetup) -> SavedCheckpoint | None:
    """The checkpoint to resume from; None if there is none or if it is of another training."""
    directory = setup.request.out / CHECKPOINTS
    return SavedCheckpoint.newest(directory) if is_current(directory, setup.inputs, log_once) else None


def on_same_batches(setup: TrainingSetup, saved: SavedCheckpoint, world_size: int) -> TrainingSetup:
    """`setup` with the configuration that gives `world_size` processes the global batches of the checkpoint.

    Raises ValueError on rank 0 if they cannot be divided; the other ranks exit with status 1.
    """
    packs_per_step = saved.packs_per_step or setup.config.packs_per_step(saved.world_size)
    with rank_0_reports():
        try:
            config = setup.config.with_global_batch(packs_per_step, world_size)
        except ValueError as error:
            raise ValueError(f"{saved.path}: {error}, or remove {saved.path.parent} to start over") from error
    if world_size != saved.world_size:
        log_once(
            f"{saved.path}: saved by {saved.world_size} processes, got {world_size}; a step remains {packs_per_step} "
            f"packs: {config.packs_per_batch} per process and micro-step, accumulation {config.accumulation}"
        )
    return replace(setup, config=config)


def resume(checkpoints: Checkpoints, saved: SavedCheckpoint | None, setup: TrainingSetup) -> tuple[int, Window]:
    """Load the checkpoint; without one, move a training from other inputs aside. Returns step and window."""
    out, inputs = setup.request.out, setup.inputs
    if saved is not None:
        window = checkpoints.load(saved)
        log_once(f"{out}: resuming from step {saved.step}")
        return saved.step, window
    if is_current(checkpoints.directory, inputs, say=lambda _: None):  # newest_checkpoint has named damaged files
        return 0, Window()
    distributed.barrier()  # no rank still reads what rank 0 removes
    if distributed.get_rank() == 0:
        set_aside(out, inputs)
        checkpoints.directory.mkdir(parents=True)
        mark_current(checkpoints.directory, inputs)
    distributed.barrier()
    return 0, Window()


def set_aside(out: Path, inputs: dict[str, str]) -> None:
    """Move a training with weights or checkpoints to <parent>/.replaced/, where no stage looks; remove any other."""
    kept = [path for path in (out / WEIGHTS, *out.glob(f"{CHECKPOINTS}/*/")) if path.exists()]
    if not kept:
        shutil.rmtree(out, ignore_errors=True)
        return
    record = out if (out / WEIGHTS).exists() else out / CHECKPOINTS
    before = read_record(record / FINGERPRINT) or {}
    changed = sorted(name for name in before.keys() | inputs.keys() if before.get(name) != inputs.get(name))
    replaced = out.parent / REPLACED
    replaced.mkdir(exist_ok=True)
    number = next(number for number in itertools.count(1) if not (replaced / f"{out.name}.{number}").exists())
    out.rename(replaced / f"{out.name}.{number}")
    why = f"inputs changed ({', '.join(changed)})" if changed else "damaged"
    log(f"{out}: {why}; training again. The earlier training is now {replaced / f'{out.name}.{number}'}")
