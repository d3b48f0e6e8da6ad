"""Estimate the memory of one GPU in training, and suggest settings that fit.

In: the sizes of a phase, the activations, the training's settings. Out: `Memory`, in bytes by purpose. Temporary memory
of the optimiser's step is not counted: the activations, which are larger, have been freed by then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from zipperasr.model.model_config import ModelConfig
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.plan.activations import FLOAT32, Activations, MicroBatch, count_activations
from zipperasr.plan.parameters import PhaseSize
from zipperasr.plan.steps import AssumedSpeech
from zipperasr.train.engine import REDUCE_BUCKET
from zipperasr.train.train_config import TrainConfig

GIB = 2**30
VALUE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
CONTEXT_BYTES = 3 * GIB  # assumed: CUDA context, libraries' workspaces, fragmentation


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU, by purpose."""

    parts: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True)
class TrainingSetUp:
    """Everything that the memory of a phase depends on."""

    model: SpeechLLM
    model_config: ModelConfig
    phase: str
    size: PhaseSize
    train: TrainConfig
    regime: str
    num_gpus: int
    speech: AssumedSpeech

    def memory(self) -> Memory:
        value_bytes = VALUE_BYTES[self.train.precision]
        batch = MicroBatch.assumed(self.train.packs_per_batch, self.model_config, self.speech, half=value_bytes == 2)
        activations = count_activations(self.model, self.model_config, self.phase, batch, value_bytes)
        return Memory({**_states(self.size, self.train, self.num_gpus), **_passing(activations)})


def remedy(setup: TrainingSetUp, limit_bytes: float) -> str:
    """The least costly change that fits into `limit_bytes`."""
    for change, candidate in _smaller(setup):
        needed = candidate.memory().total
        if needed <= limit_bytes:
            return f"set {change} ({needed / GIB:.0f} GiB)"
    return "even packs_per_batch=1 with checkpointing does not fit; use more GPUs, zero_stage=2 or bf16"


def memory_rows(memories: dict[str, Memory]) -> list[tuple[str, ...]]:
    """A table in GiB: one part per row, one phase per column, then the sum."""
    parts = next(iter(memories.values())).parts
    rows = [("GiB", *memories)]
    rows += [(part, *(f"{memory.parts[part] / GIB:.2f}" for memory in memories.values())) for part in parts]
    return [*rows, ("total", *(f"{memory.total / GIB:.2f}" for memory in memories.values()))]


def verdict(name: str, setup: TrainingSetUp, limit_gib: float) -> str:
    """One line that says whether the phase fits, or what to change."""
    needed = setup.memory().total
    if needed <= limit_gib * GIB:
        return f"{name}: {needed / GIB:.0f} of {limit_gib:g} GiB: fits."
    return f"{name}: {needed / GIB:.0f} of {limit_gib:g} GiB: does not fit; {remedy(setup, limit_gib * GIB)}."


def _states(size: PhaseSize, train: TrainConfig, num_gpus: int) -> dict[str, float]:
    """Memory that does not depend on the batch. For P parameters of b bytes, T of them trained, on N GPUs:

    weights b P; gradients b T (ZeRO-2: 4 T / N, in float32); two buckets of ZeRO, one filled while the other is
    reduced, and their float32 copy; optimiser 12 T (ZeRO: / N), a float32 copy and two moments; 2 for the language of
    each bank element (ZeRO: / N).
    """
    value_bytes = VALUE_BYTES[train.precision]
    shards = num_gpus if train.zero_stage > 0 else 1
    gradient_bytes = FLOAT32 / num_gpus if train.zero_stage == 2 else value_bytes
    in_float32 = 0 if value_bytes == FLOAT32 else FLOAT32  # a copy, unless the buckets are in float32
    return {
        "weights": value_bytes * size.total,
        "gradients": gradient_bytes * size.trained,
        "reduce bucket": (2 * value_bytes + in_float32) * REDUCE_BUCKET if train.zero_stage > 0 else 0.0,
        "optimiser states": 3 * FLOAT32 * size.trained / shards,
        "languages of banks": 2 * size.banks / shards,
    }


def _passing(activations: Activations) -> dict[str, float]:
    """Memory that depends on the batch. Logits and the largest layer are not in memory at the same time."""
    return {
        "activations kept": activations.kept,
        "logits, or one layer": max(activations.logits, activations.layer),
        "CUDA, fragmentation": CONTEXT_BYTES,
    }


def _smaller(setup: TrainingSetUp) -> Iterator[tuple[str, TrainingSetUp]]:
    """Changes that save memory, the least costly first."""
    done = ""
    if not setup.model_config.checkpointing:
        config = dataclasses.replace(setup.model_config, checkpointing=True)
        setup = dataclasses.replace(setup, model_config=config)
        yield "checkpointing: true in model.yaml", setup
        done = "checkpointing: true in model.yaml and "
    packs, accumulation = setup.train.packs_per_batch, setup.train.accumulation
    for parts in range(2, packs + 1):
        if packs % parts == 0:  # keeps the global batch
            change = {"packs_per_batch": packs // parts, "accumulation": accumulation * parts}
            settings = " ".join(f"{key}={value}" for key, value in change.items())
            yield f"{done}{settings}", dataclasses.replace(setup, train=dataclasses.replace(setup.train, **change))
