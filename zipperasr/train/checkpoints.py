"""Checkpoints that are whole or are not there.

In: the engine and the number of steps done. Out: checkpoints/step-N with DeepSpeed's files (what trains, its optimiser,
the loss scale; no frozen weights) and checksums.json, written aside, checked and renamed. Loading takes the newest one
that is whole. Data, chunk lengths and learning rates follow from (seed, step) and need no place here.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import torch
from torch import distributed

from zipperasr.cli import log
from zipperasr.model.checkpoint import few

KEPT = 2
CHECKSUMS = "checksums.json"


class Checkpoints:
    """The checkpoints of one training; every method is called by all ranks, which see the same directory."""

    def __init__(self, directory: Path, engine):
        self.directory, self._engine = directory, engine
        self._rank, self._world_size = distributed.get_rank(), distributed.get_world_size()

    def save(self, step: int, window: dict[str, float]) -> None:
        """Write step-N unless it is there, and drop all but the newest two. Raises OSError if it cannot be written.

        window: what the next line of train.jsonl has gathered so far, of all ranks.
        """
        target = self.directory / f"step-{step}"
        if target.is_dir():
            return
        aside = self.directory / f".step-{step}.tmp"
        self._on_rank_0(lambda: shutil.rmtree(aside, ignore_errors=True))
        try:
            self._engine.save_checkpoint(
                str(self.directory), tag=aside.name, client_state={"step": step, "window": window},
                save_latest=False, exclude_frozen_parameters=True,
            )  # fmt: skip
            distributed.barrier()
            self._on_rank_0(lambda: self._finish(aside, target, step))
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            shutil.rmtree(aside, ignore_errors=True)
            reason = str(error).strip().splitlines()[0]
            raise OSError(
                f"{target}: the checkpoint cannot be written ({reason}); make room there and start again: training "
                f"goes on from the checkpoint before"
            ) from error

    def load_newest(self) -> tuple[int, dict[str, float]]:
        """Load the newest whole checkpoint; returns its step and window, 0 and {} if there is none.

        A damaged one is named and passed over.
        """
        for step in sorted(self._steps(), reverse=True):
            path = self.directory / f"step-{step}"
            if (problem := self._on_rank_0(lambda path=path: _damage(path))) is not None:
                if self._rank == 0:
                    log(f"{path}: {problem}: passed over")
                continue
            facts = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))
            if facts["world_size"] != self._world_size:
                raise ValueError(
                    f"{path}: made by {facts['world_size']} processes, now there are {self._world_size}: the global "
                    f"batch, and so the training, would be another; use as many, or remove {self.directory}"
                )
            missing = sorted(self._trained_names() ^ set(facts["trained"]))
            if missing:
                raise ValueError(f"{path}: other parameters train now: {few(missing)}; remove {self.directory}")
            # Not strict: what is frozen is not in it. That all which trains is, has just been checked.
            self._engine.checkpoint_engine.load = load_tensors
            _, state = self._engine.load_checkpoint(str(self.directory), tag=path.name, load_module_strict=False)
            return step, state["window"]
        return 0, {}

    def _steps(self) -> list[int]:
        names = (path.name.removeprefix("step-") for path in self.directory.glob("step-*"))
        return [int(name) for name in names if name.isdigit()]

    def _trained_names(self) -> set[str]:
        return {name for name, parameter in self._engine.module.named_parameters() if parameter.requires_grad}

    def _finish(self, aside: Path, target: Path, step: int) -> None:
        """Checksums of what has reached the disk, the final name, and room for the next."""
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
        """Rank 0 acts, all get what came of it, and fail with it if it fails."""
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
    """DeepSpeed's own reader of checkpoints unpickles anything; this one, tensors and the four classes that it writes.

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
            f"{path}: holds more than a checkpoint does, and loading it could run code; remove it to train from the "
            "checkpoint before"
        ) from error


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint; None if it is whole."""
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
