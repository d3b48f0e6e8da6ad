"""The best weights by dev loss: when to stop early, and which checkpoints to average.

In: the dev loss of each evaluation. Out: best/step-N.safetensors of the `average` best ones, their mean at the end.
All follows from dev.jsonl, so a resumed training decides as an unbroken one.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from zipperasr.model.checkpoint import save_trained, trained_state
from zipperasr.model.weights_file import load_weights

BEST = "best"  # directory below the training's own


class BestWeights:
    """Keeps the weights of the `average` best evaluations (0: none); `patience` evaluations without a better one end
    a training (0: never)."""

    def __init__(self, out: Path, average: int, patience: int, start_step: int):
        self._directory, self._average, self._patience = out / BEST, average, patience
        self._losses = {step: loss for step, loss in _losses(out / "dev.jsonl") if step <= start_step}

    def add(self, step: int, loss: float, model, active: bool) -> None:
        """Take note of an evaluation; `active` (rank 0) keeps the weights if they are among the best."""
        self._losses[step] = loss
        best = self.steps()
        if not active or step not in best:
            return
        save_trained(model, self._directory / f"step-{step}.safetensors", trained_state(model))
        for path in self._directory.glob("step-*.safetensors"):
            if int(path.stem.removeprefix("step-")) not in best:
                path.unlink()

    def steps(self) -> list[int]:
        """The steps of the best evaluations, the best first; of equal ones the earlier."""
        return sorted(self._losses, key=lambda step: (self._losses[step], step))[: self._average]

    def wants_to_stop(self) -> bool:
        """True if the best evaluation lies `patience` or more evaluations back."""
        if not self._patience or not self._losses:
            return False
        steps = sorted(self._losses)
        best = min(steps, key=lambda step: (self._losses[step], step))
        return len(steps) - 1 - steps.index(best) >= self._patience

    def mean(self) -> dict[str, Tensor] | None:
        """The mean of the best weights, in their own precision; None where none are kept."""
        files = [load_weights(self._directory / f"step-{step}.safetensors") for step in self.steps()]
        if not files:
            return None
        mean = {name: torch.stack([file[name].double() for file in files]).mean(0) for name in files[0]}
        return {name: tensor.to(files[0][name].dtype) for name, tensor in mean.items()}


def _losses(path: Path) -> list[tuple[int, float]]:
    if not path.is_file():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    return [(row["step"], row["loss"]) for row in map(json.loads, lines)]
