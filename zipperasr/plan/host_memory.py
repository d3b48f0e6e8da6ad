"""Estimate the host memory of training: weights before they are moved to the GPU, and loader workers.

In: a phase's sizes, the training's settings. Out: `HostMemory`, in bytes. It is an upper bound, because it adds the
memory of loading the model to that of the loader workers, which start later.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from zipperasr.audio.segments import MEL_FRAMES_PER_S
from zipperasr.plan.activations import FLOAT32
from zipperasr.plan.memory import GIB, VALUE_BYTES, TrainingSetUp

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PROCESS_BYTES = 1.5 * GIB  # assumed: Python, torch and CUDA's libraries
PREFETCHED = 4  # batches that a loader worker reads ahead
WORKER_BYTES = 0.5 * GIB  # assumed: memory that a forked loader worker does not share with its rank


@dataclass(frozen=True)
class HostMemory:
    """Bytes of one rank by purpose, and of weights that all ranks of a machine share."""

    rank: dict[str, float]
    shared: float

    def of_machine(self, ranks: int) -> float:
        return ranks * sum(self.rank.values()) + self.shared


def host_memory(setup: TrainingSetUp) -> HostMemory:
    """For P parameters of b bytes, T of them trained: 4 T + b T (the cast, none in float32) + b (P - T), and workers.

    A frozen LLM whose files have the training's precision stays memory-mapped, so that ranks share its pages.
    """
    train, size, value_bytes = setup.train, setup.size, VALUE_BYTES[setup.train.precision]
    frozen = value_bytes * (size.total - size.trained)
    llm = size.parts["LLM"]
    stored = setup.model.causal_lm.config.dtype or torch.bfloat16  # as LLMs are published
    shared = value_bytes * (llm.total - llm.trained) if stored == DTYPES[train.precision] else 0.0
    seconds = train.packs_per_batch * setup.speech.pack_s(setup.model_config.max_positions)
    batch = seconds * MEL_FRAMES_PER_S * setup.model_config.mel_bins * FLOAT32
    return HostMemory(
        {
            "Python, CUDA's libraries (assumed)": PROCESS_BYTES,
            "trained weights, float32": FLOAT32 * size.trained,
            "trained weights, cast for the GPU": value_bytes * size.trained if value_bytes < FLOAT32 else 0.0,
            "frozen weights": frozen - shared,
            "optimiser states": 0.0,  # on the GPU: there is no offload
            "loader workers and their batches": train.num_workers * (WORKER_BYTES + (1 + PREFETCHED) * batch),
        },
        shared,
    )


def host_rows(memories: dict[str, HostMemory], ranks: int) -> list[tuple[str, ...]]:
    """A table in GiB: the parts of one process, then one machine."""

    def row(name: str, values: list[float]) -> tuple[str, ...]:
        return (name, *(f"{value / GIB:.2f}" for value in values))

    parts = next(iter(memories.values())).rank
    rows = [("GiB", *memories)]
    rows += [row(part, [memory.rank[part] for memory in memories.values()]) for part in parts]
    rows.append(row("one process", [sum(memory.rank.values()) for memory in memories.values()]))
    rows.append(row("LLM, shared by all processes", [memory.shared for memory in memories.values()]))
    return [*rows, row(f"machine with {ranks}", [memory.of_machine(ranks) for memory in memories.values()])]
