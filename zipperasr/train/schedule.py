"""What happens in each optimiser step: learning rate, chunk length, and when to log, evaluate and save.

Everything is a function of the configuration, the seed and the step, so a resumed training needs no other state.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from zipperasr.audio.segments import segment_frames
from zipperasr.model.model_config import ModelConfig
from zipperasr.train.train_config import TrainConfig


@dataclass(frozen=True)
class Schedule:
    """The steps of one training; `step` counts from 0, `done` is the number of finished steps."""

    num_steps: int
    config: TrainConfig
    model_config: ModelConfig
    regime: str
    seed: int

    def learning_rate(self, step: int) -> float:
        """Learning rate of parameters without a factor of their own (`router_lr_factor`, `encoder_lr_factor`)."""
        return self.config.lr * lr_factor(step, self.num_steps, self.config.warmup_ratio)

    def chunk_frames(self, step: int) -> int | None:
        """Mel frames per chunk, drawn for each step and equal on all ranks; None in full context."""
        if self.regime == "full":
            return None
        return segment_frames(random.Random(f"chunk {self.seed} {step}").choice(self.model_config.train_chunk_s))

    @property
    def dev_chunk_frames(self) -> int | None:
        """Mel frames per chunk in evaluation, as in decoding; None in full context."""
        return None if self.regime == "full" else segment_frames(self.model_config.decode_chunk_s)

    def is_last(self, done: int) -> bool:
        return done == self.num_steps

    def logs_after(self, done: int) -> bool:
        return self.is_last(done) or _is_multiple(done, self.config.log_every)

    def evaluates_after(self, done: int) -> bool:
        return self.is_last(done) or _is_multiple(done, self.config.eval_every)

    def saves_after(self, done: int) -> bool:
        """Not after the last step, whose result is the trained model itself."""
        return not self.is_last(done) and _is_multiple(done, self.config.save_every)


def lr_factor(step: int, num_steps: int, warmup_ratio: float) -> float:
    """Linear warm-up over `warmup_ratio` of the steps, then half a cosine to zero. `step` counts from 0."""
    warmup = max(1, round(num_steps * warmup_ratio))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def _is_multiple(done: int, every: int) -> bool:
    """Whether `done` is a multiple of `every`; 0 means never."""
    return every > 0 and done % every == 0
