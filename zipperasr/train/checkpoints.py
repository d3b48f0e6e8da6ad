"""Checkpoints that are either complete or absent.

In: the engine and the number of finished steps. Out: checkpoints/step-N with DeepSpeed's files (trainable weights,
optimiser states, loss scale; no frozen weights) and checksums.json, written to a temporary directory and renamed. Data,
chunk lengths and learning rates are functions of the seed, the step and the global batch; only the latter is saved.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from torch import distributed

from zipperasr.cli import log
from zipperasr.model.checkpoint import few
from zipperasr.train.checkpoint_files import load_tensors
from zipperasr.train.reshard import Resharding
from zipperasr.train.throughput import Window

KEPT = 2
CHECKSUMS = "checksums.json"
Result = TypeVar("Result")


@dataclass(frozen=True)
class SavedCheckpoint:
    """A complete checkpoint.

    Attributes:
        step: number of finished steps.
        world_size: number of processes that saved it.
        packs_per_step: size of the global batch; None if an earlier version saved it.
        trained: names of the trainable parameters.
    """

    path: Path
    step: int
    world_size: int
    packs_per_step: int | None
    trained: tuple[str, ...]

    @classmethod
    def newest(cls, directory: Path) -> SavedCheckpoint | None:
        """The newest complete checkpoint; damaged ones are reported and skipped. All ranks must call it."""

        def find() -> SavedCheckpoint | None:
            for step in sorted(_steps(directory), reverse=True):
                path = directory / f"step-{step}"
                if (problem := _damage(path)) is None:
                    facts = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))
                    return cls(path, step, facts["world_size"], facts.get("packs_per_step"), tuple(facts["trained"]))
                log(f"{path}: {problem}; skipped")
            return None

        return _on_rank_0(find)


class Checkpoints:
    """The checkpoints of one training. All ranks call every method, on the same directory."""

    def __init__(self, directory: Path, engine):
        self.directory, self._engine = directory, engine
        self._rank, self._world_size = distributed.get_rank(), distributed.get_world_size()

    def save(self, step: int, window: Window) -> None:
        """Write step-N unless it exists, and delete all but the newest two. Raises OSError if it cannot be written.

        window: sums of all ranks since the last line of train.jsonl.
        """
        target = self.directory / f"step-{step}"
        if target.is_dir():
            return
        aside = self.directory / f".step-{step}.tmp"
        _on_rank_0(lambda: shutil.rmtree(aside, ignore_errors=True))
        try:
            self._engine.save_checkpoint(
                str(self.directory), tag=aside.name, client_state={"step": step, "window": asdict(window)},
                save_latest=False, exclude_frozen_parameters=True,
            )  # fmt: skip
            distributed.barrier()
            _on_rank_0(lambda: self._finish(aside, target, step))
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            shutil.rmtree(aside, ignore_errors=True)
            reason = str(error).strip().splitlines()[0]
            raise OSError(
                f"{target}: cannot write the checkpoint ({reason}); free disk space and rerun: training resumes from "
                "the previous checkpoint"
            ) from error

    def load(self, saved: SavedCheckpoint) -> Window:
        """Load a checkpoint, also of another number of processes. Returns its window.

        Raises ValueError if it does not fit this training.
        """
        remedy = f"remove {self.directory} to start over"
        different = sorted(self._trained_names() ^ set(saved.trained))
        if different:
            raise ValueError(
                f"{saved.path}: saved with a different set of trainable parameters ({few(different)}); {remedy}"
            )
        load = load_tensors
        if saved.world_size != self._world_size:
            load = Resharding.to_this_rank(self._engine, saved.world_size).load
        self._engine.checkpoint_engine.load = load
        # Not strict, since frozen weights are not saved. The trainable ones have just been checked.
        _, state = self._engine.load_checkpoint(str(self.directory), tag=saved.path.name, load_module_strict=False)
        try:
            return Window.restore(state["window"])
        except ValueError as error:
            raise ValueError(f"{saved.path}: {error}; {remedy}") from error

    def _trained_names(self) -> set[str]:
        return {name for name, parameter in self._engine.module.named_parameters() if parameter.requires_grad}

    def _finish(self, aside: Path, target: Path, step: int) -> None:
        """Write checksums, sync everything to disk, rename, and delete old checkpoints."""
        files = sorted(path for path in aside.rglob("*") if path.is_file())
        facts = {
            "step": step,
            "world_size": self._world_size,
            "packs_per_step": self._engine.train_batch_size(),
            "trained": sorted(self._trained_names()),
            "files": {str(path.relative_to(aside)): _checksum(path) for path in files},
        }
        (aside / CHECKSUMS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        for path in (*files, aside / CHECKSUMS, aside):
            _sync(path)
        aside.rename(target)
        _sync(self.directory)
        for old in sorted(_steps(self.directory))[:-KEPT]:
            shutil.rmtree(self.directory / f"step-{old}")


def _steps(directory: Path) -> list[int]:
    names = (path.name.removeprefix("step-") for path in directory.glob("step-*"))
    return [int(name) for name in names if name.isdigit()]


def _on_rank_0(act: Callable[[], Result]) -> Result:
    """Call `act` on rank 0 and return its result on all ranks; an OSError is raised on all of them too."""
    outcome: list = [None, None]
    if distributed.get_rank() == 0:
        try:
            outcome[0] = act()
        except OSError as error:
            outcome[1] = error
    if distributed.get_world_size() > 1:
        distributed.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint; None if it is complete."""
    try:
        files = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"no readable {CHECKSUMS}"
    for name, checksum in files.items():
        if not (path / name).is_file():
            return f"{name} is missing"
        if _checksum(path / name) != checksum:
            return f"{name} is damaged"
    return None


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
