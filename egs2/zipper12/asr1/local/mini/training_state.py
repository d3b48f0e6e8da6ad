"""Save and restore an unfinished pretraining phase; a resumed run gives the same weights.

In: a model, its optimiser, the random number generators. Out: one file, replaced atomically at regular intervals.
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
    """Return the learning rate factor: linear warm-up, constant up to the share `decay_from`, cosine decay to 1 %."""
    level = decay_from * steps
    fallen = max(0.0, (step - level) / (steps - level))
    return min(1, step / warmup) * (0.01 + 0.495 * (1 + math.cos(math.pi * fallen)))


class TrainingState:
    """Everything that determines the rest of a phase, with its log `lines` and the number of finished steps.

    settings: of the phase; those in MAY_CHANGE may differ when it resumes.
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
        """Write the state atomically."""
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
        """Restore the state, if there is one. Raises ValueError if it was written with other settings."""
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
