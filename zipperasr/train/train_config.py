"""Training configuration of a phase, read from conf/*/{align,sft}.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from zipperasr.batching.augment_config import AugmentConfig
from zipperasr.cli import nearest
from zipperasr.ranges import COUNT, NOT_NEGATIVE, SHARE, check_ranges
from zipperasr.yaml_text import shown

PRECISIONS = ("fp32", "bf16", "fp16")
ABSENT_LANGUAGE = ("hold", "dense")
RANGES = {
    **dict.fromkeys(("epochs", "accumulation", "log_every", "max_skipped"), COUNT),
    **dict.fromkeys(("language_sampling", "warmup_ratio", "betas"), SHARE),
    **dict.fromkeys(
        ("lr", "router_lr_factor", "encoder_lr_factor", "weight_decay", "gradient_clipping", "watchdog_s"), NOT_NEGATIVE
    ),
    **dict.fromkeys(("eval_every", "save_every", "early_stop", "average_best", "num_workers"), NOT_NEGATIVE),
}


@dataclass(frozen=True)
class PacksPerBatch:
    """Packs per batch for each regime (see REGIMES in zipperasr/audio/segments.py)."""

    chunked: int
    full: int


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of one phase. Defaults are the paper's unless a comment says otherwise."""

    epochs: int  # not in the paper; the recipe uses 1 for align and 3 for sft
    packs_per_batch: int | PacksPerBatch = 16  # per GPU and micro-step; paper: 16 chunked, 10 full context
    language_sampling: float = 1.0  # languages are sampled with probability share ** this: 1 is proportional, 0 uniform
    accumulation: int = 1  # micro-steps per optimiser step; not in the paper
    lr: float = 2e-5
    router_lr_factor: float = 1.0  # the router's learning rate is this times lr
    encoder_lr_factor: float = 1.0  # in the alignment, that of the encoder's own weights is this times lr
    warmup_ratio: float = 0.1
    betas: tuple[float, ...] = (0.9, 0.95)  # not in the paper
    weight_decay: float = 0.01  # of matrices only; not in the paper
    gradient_clipping: float = 1.0  # maximum gradient norm; not in the paper (1.0 is DeepSpeed's default)
    absent_language: str = "hold"  # banks of languages absent from the batch: hold (unchanged) | dense (updated)
    zero_stage: int = 2
    precision: str = "bf16"  # fp32 | bf16 | fp16; not in the paper
    compile: bool = False  # torch.compile the layers (needs a C++ compiler); not in the paper
    eval_every: int = 500  # optimiser steps between evaluations on the dev set; 0: only after the last step
    eval_first: bool = False  # also evaluate before the first step; not in the paper
    save_every: int = 500  # optimiser steps between checkpoints; 0: none
    log_every: int = 10  # optimiser steps between lines of train.jsonl
    early_stop: int = 0  # evaluations without improvement that end the training; 0: never, as in the paper
    average_best: int = 0  # number of best evaluations whose weights are averaged; 0: use the last weights
    max_skipped: int = 20  # steps in a row with a non-finite loss or gradient that end the training
    watchdog_s: float = 600.0  # seconds without a finished step until the watchdog logs where training is stuck; 0: off
    features_on_device: bool = False  # compute log-mel on the GPU instead of in the loader; not in the paper
    num_workers: int = 1  # loader processes per rank
    augment: AugmentConfig = field(default=AugmentConfig(), repr=False)  # not in the paper; fingerprinted apart

    def __post_init__(self) -> None:
        for name, known in (("precision", PRECISIONS), ("absent_language", ABSENT_LANGUAGE)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name}: unknown value {value!r}; {nearest(value, known)}")
        check_ranges(self, RANGES)
        packs = self.packs_per_batch
        if isinstance(packs, PacksPerBatch):
            try:
                check_ranges(packs, {field.name: COUNT for field in fields(packs)})
            except ValueError as error:
                raise ValueError(f"packs_per_batch.{error}") from error
        else:
            check_ranges(self, {"packs_per_batch": COUNT})
        if len(self.betas) != 2 or 1 in self.betas:
            raise ValueError(f"betas: got {shown(self.betas)}, wanted two numbers from 0 to below 1")
        if self.zero_stage not in (0, 1, 2):
            raise ValueError(
                f"zero_stage: got {self.zero_stage}, wanted 0, 1 or 2; ZeRO-3 is not supported: it shards the "
                "per-language weights"
            )

    def for_regime(self, regime: str) -> TrainConfig:
        """This configuration with `packs_per_batch` of one regime."""
        packs = self.packs_per_batch
        return replace(self, packs_per_batch=getattr(packs, regime)) if isinstance(packs, PacksPerBatch) else self

    def packs_per_step(self, world_size: int) -> int:
        """Size of the global batch of `world_size` processes."""
        return self.packs_per_batch * self.accumulation * world_size

    def with_global_batch(self, packs_per_step: int, world_size: int) -> TrainConfig:
        """This configuration with the `accumulation` that gives a global batch of `packs_per_step`.

        `packs_per_batch` becomes smaller if it does not divide the share of a process. Raises ValueError if there are
        no equal shares.
        """
        if packs_per_step % world_size:
            divisors = [number for number in range(1, packs_per_step + 1) if packs_per_step % number == 0]
            around = [max(n for n in divisors if n < world_size), *[n for n in divisors if n > world_size][:1]]
            raise ValueError(
                f"its global batch of {packs_per_step} packs cannot be divided among {world_size} processes; "
                f"use {' or '.join(map(str, around))}"
            )
        share = packs_per_step // world_size
        packs = max(number for number in range(1, self.packs_per_batch + 1) if share % number == 0)
        return replace(self, packs_per_batch=packs, accumulation=share // packs)
