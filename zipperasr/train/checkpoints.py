"""Checkpoints that are either complete or absent.

In: the engine and the number of finished steps. Out: checkpoints/step-N with DeepSpeed's files (trainable weights,
optimiser states, loss scale; no frozen weights) and checksums.json, written to a temporary directory and renamed. Data,
chunk lengths and learning rates are functions of the seed and the step, and are not saved.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from torch import distributed

from zipperasr.cli import log
from zipperasr.model.checkpoint import few
from zipperasr.train.throughput import Window

KEPT = 2
CHECKSUMS = "checksums.json"


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
        self._on_rank_0(lambda: shutil.rmtree(aside, ignore_errors=True))
        try:
            self._engine.save_checkpoint(
                str(self.directory), tag=aside.name, client_state={"step": step, "window": asdict(window)},
                save_latest=False, exclude_frozen_parameters=True,
            )  # fmt: skip
            distributed.barrier()
            self._on_rank_0(lambda: self._finish(aside, target, step))
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            shutil.rmtree(aside, ignore_errors=True)
            reason = str(error).strip().splitlines()[0]
            raise OSError(
                f"{target}: cannot write the checkpoint ({reason}); free disk space and rerun: training resumes from "
                "the previous checkpoint"
            ) from error

    def load_newest(self) -> tuple[int, Window]:
        """Load the newest complete checkpoint. Returns its step and window; 0 and an empty window if there is none.

        Damaged checkpoints are reported and skipped. Raises ValueError if the checkpoint does not fit this training.
        """
        for step in sorted(self._steps(), reverse=True):
            path = self.directory / f"step-{step}"
            if (problem := self._on_rank_0(lambda path=path: _damage(path))) is not None:
                if self._rank == 0:
                    log(f"{path}: {problem}; skipped")
                continue
            facts = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))
            if facts["world_size"] != self._world_size:
                raise ValueError(
                    f"{path}: saved by {facts['world_size']} processes, got {self._world_size}, which would change the "
                    f"global batch; use {facts['world_size']} processes, or remove {self.directory} to start over"
                )
            missing = sorted(self._trained_names() ^ set(facts["trained"]))
            if missing:
                raise ValueError(
                    f"{path}: saved with a different set of trainable parameters ({few(missing)}); "
                    f"remove {self.directory} to start over"
                )
            # Not strict, since frozen weights are not saved. The trainable ones have just been checked.
            self._engine.checkpoint_engine.load = load_tensors
            _, state = self._engine.load_checkpoint(str(self.directory), tag=path.name, load_module_strict=False)
            try:
                return step, Window.restore(state["window"])
            except ValueError as error:
                raise ValueError(f"{path}: {error}; remove {self.directory} to start over") from error
        return 0, Window()

    def _steps(self) -> list[int]:
        names = (path.name.removeprefix("step-") for path in self.directory.glob("step-*"))
        return [int(name) for name in names if name.isdigit()]

    def _trained_names(self) -> set[str]:
        return {name for name, parameter in self._engine.module.named_parameters() if parameter.requires_grad}

    def _finish(self, aside: Path, target: Path, step: int) -> None:
        """Write checksums, sync everything to disk, rename, and delete old checkpoints."""
        files = sorted(path for path in aside.rglob("*") if path.is_file())
        facts = {
            "step": step,
            "world_size": self._world_size,
            "trained": sorted(self._trained_names()),
            "files": {str(path.relative_to(aside)): _checksum(path) for path in files},
        }
        (aside / CHECKSUMS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        for path in (*files, aside / CHECKSUMS, aside):
            _sync(path)
        aside.rename(target)
        _sync(self.directory)
        for old in sorted(self._steps())[:-KEPT]:
            shutil.rmtree(self.directory / f"step-{old}")

    def _on_rank_0(self, act):
        """Call `act` on rank 0 and return its result on all ranks; an OSError is raised on all of them too."""
        outcome = [None, None]
        if self._rank == 0:
            try:
                outcome[0] = act()
            except OSError as error:
                outcome[1] = error
        if self._world_size > 1:
            distributed.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]


def load_tensors(path: str, map_location: object = None) -> dict:
    """Replacement for DeepSpeed's `load`, which unpickles any object. Loads tensors and the four classes it writes.

    Raises ValueError if the file holds anything else.
    """
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    try:
        with torch.serialization.safe_globals([DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]):
            return torch.load(path, map_location=map_location, weights_only=True)  # noqa: TID251  # runs nothing
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: contains objects that a checkpoint does not need, and loading them could run code; remove this "
            "checkpoint to resume from the previous one"
        ) from error


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
