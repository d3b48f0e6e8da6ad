"""The state of an unfinished pretraining phase: an interrupted run resumes from it to the same weights.

In: a model, its optimiser, the generators of random numbers. Out: one file, replaced atomically every so many steps.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

import torch
from torch import nn

from zipperasr.atomic import atomic_path
from zipperasr.cli import log


def lr_factor(step: int, steps: int, warmup: int, decay_from: float) -> float:
    """A warm-up of `warmup` steps; then level for the share `decay_from` of `steps`; then half a cosine down to 1 %."""
    level = decay_from * steps
    fallen = max(0.0, (step - level) / (steps - level))
    return min(1, step / warmup) * (0.01 + 0.495 * (1 + math.cos(math.pi * fallen)))


class TrainingState:
    """Everything that decides the rest of a phase. `lines` is its log so far, `step` the steps done.

    settings: the phase's; those in MAY_CHANGE may have other values when it resumes.
    """

    MAY_CHANGE = ("steps", "decay_from", "checkpoint_every", "report_every")

    def __init__(
        self, path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, rng: random.Random, settings: dict
    ):
        self.path, self.model, self.optimiser, self.rng = path, model, optimiser, rng
        self.settings = {name: value for name, value in settings.items() if name not in self.MAY_CHANGE}
        self.step, self.seconds = 0, 0.0
        self.lines: list[dict] = []

    def save(self) -> None:
        """Write the state. A run that is killed meanwhile leaves the file before it in place."""
        tree = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": self.rng.getstate(),
            "torch": torch.get_rng_state(),
            **{name: getattr(self, name) for name in ("settings", "step", "seconds", "lines")},
        }
        with atomic_path(self.path) as temporary:
            torch.save(tree, temporary)

    def load(self) -> None:
        """Continue from the file, if there is one. Raises ValueError if it was written with other settings."""
        if not self.path.is_file():
            return
        tree = torch.load(self.path, weights_only=True)  # noqa: TID251 - this pretraining's own state
        names = sorted(self.settings.keys() | tree["settings"].keys())
        changed = [name for name in names if self.settings.get(name) != tree["settings"].get(name)]
        if changed:
            raise ValueError(
                f"{self.path}: written with other values of {', '.join(changed)}; restore them, or remove this file "
                "to restart the phase"
            )
        self.model.load_state_dict(tree["model"])
        self.optimiser.load_state_dict(tree["optimiser"])
        version, numbers, gauss = tree["random"]
        self.rng.setstate((version, tuple(numbers), gauss))
        torch.set_rng_state(tree["torch"])
        self.step, self.seconds, self.lines = (tree[name] for name in ("step", "seconds", "lines"))
        log(f"{self.path}: resuming after step {self.step}")
