"""How a phase is trained, as conf/*/{align,sft}.yaml says it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from zipperasr.cli import nearest
from zipperasr.ranges import COUNT, NOT_NEGATIVE, SHARE, check_ranges
from zipperasr.yaml_text import shown

PRECISIONS = ("fp32", "bf16", "fp16")
ABSENT_LANGUAGE = ("hold", "dense")
RANGES = {
    **dict.fromkeys(("epochs", "accumulation", "log_every", "max_skipped"), COUNT),
    **dict.fromkeys(("language_sampling", "warmup_ratio", "betas"), SHARE),
    **dict.fromkeys(("lr", "router_lr_factor", "weight_decay", "gradient_clipping", "watchdog_s"), NOT_NEGATIVE),
    **dict.fromkeys(("eval_every", "save_every", "early_stop", "average_best", "num_workers"), NOT_NEGATIVE),
}


@dataclass(frozen=True)
class PacksPerBatch:
    """Packs of each regime (see REGIMES in zipperasr.model.model_config)."""

    chunked: int
    full: int


@dataclass(frozen=True)
class TrainConfig:
    """One phase. Values without a remark are the paper's."""

    epochs: int  # not in the paper; ours: 1 for align, 3 for sft
    packs_per_batch: int | PacksPerBatch = 16  # per GPU and micro-step; paper: 16 chunked, 10 full context
    language_sampling: float = 1.0  # an epoch draws a language by its share ** this: 1 as the data are, 0 all alike
    accumulation: int = 1  # micro-steps per optimiser step; not in the paper
    lr: float = 2e-5
    router_lr_factor: float = 1.0  # the router's learning rate is lr times this
    warmup_ratio: float = 0.1
    betas: tuple[float, ...] = (0.9, 0.95)  # not in the paper
    weight_decay: float = 0.01  # on matrices; not in the paper
    gradient_clipping: float = 1.0  # not in the paper; DeepSpeed clips to 1.0 if nothing is said
    absent_language: str = "hold"  # hold | dense: what happens to the bank of a language that the batch lacks
    zero_stage: int = 2
    precision: str = "bf16"  # fp32 | bf16 | fp16; not in the paper
    compile: bool = False  # torch.compile of the layers; needs a C++ compiler; not in the paper
    eval_every: int = 500  # optimiser steps between dev losses; 0: only at the end
    eval_first: bool = False  # a dev loss before the first step too; not in the paper
    save_every: int = 500  # optimiser steps between checkpoints; 0: none
    log_every: int = 10  # optimiser steps between lines of train.jsonl
    early_stop: int = 0  # evaluations without a better dev loss that end the training; 0: never, as in the paper
    average_best: int = (
        0  # of so many evaluations the weights are averaged at the end; 0: the last weights, as they are
    )
    max_skipped: int = 20  # steps in a row whose loss or gradient is not finite, at which the training gives up
    watchdog_s: float = 600.0  # seconds without a finished step after which a line says where it hangs; 0: never
    features_on_device: bool = False  # log-mel on the GPU instead of in the loader; not in the paper
    num_workers: int = 1  # loader processes per rank

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
                f"zero_stage: got {self.zero_stage}, wanted 0, 1 or 2; 3 shards what the banks must keep whole"
            )

    def for_regime(self, regime: str) -> TrainConfig:
        """The same configuration with the number of packs that it gives for one regime."""
        packs = self.packs_per_batch
        return replace(self, packs_per_batch=getattr(packs, regime)) if isinstance(packs, PacksPerBatch) else self
