"""Memory of the machine itself, not of its GPUs: what the training processes load before it is on the GPU, and keep.

In: a phase's sizes, the training's settings. Out: `HostMemory`, in bytes. An upper bound: it counts what a rank holds
while it loads and what its loader workers hold later.
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
WORKER_BYTES = 0.5 * GIB  # assumed: what a forked loader worker no longer shares with its rank


@dataclass(frozen=True)
class HostMemory:
    """Bytes of one rank by what they hold, and of weights that all ranks of a machine share."""

    rank: dict[str, float]
    shared: float

    def of_machine(self, ranks: int) -> float:
        return ranks * sum(self.rank.values()) + self.shared


def host_memory(setup: TrainingSetUp) -> HostMemory:
    """P parameters of b bytes, T of them trained: 4 T, their cast b T (none in float32), the frozen rest b (P - T).

    A frozen LLM whose files have the training's precision stays mapped to them: ranks share its pages.
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
            "what trains, in float32": FLOAT32 * size.trained,
            "the same, cast for the GPU": value_bytes * size.trained if value_bytes < FLOAT32 else 0.0,
            "frozen weights": frozen - shared,
            "optimiser states": 0.0,  # on the GPU: there is no offload
            "loader workers and their batches": train.num_workers * (WORKER_BYTES + (1 + PREFETCHED) * batch),
        },
        shared,
    )


def host_rows(memories: dict[str, HostMemory], ranks: int) -> list[tuple[str, ...]]:
    """A table in GiB: the parts of one rank, then one machine."""

    def row(name: str, values: list[float]) -> tuple[str, ...]:
        return (name, *(f"{value / GIB:.2f}" for value in values))

    parts = next(iter(memories.values())).rank
    rows = [("GiB", *memories)]
    rows += [row(part, [memory.rank[part] for memory in memories.values()]) for part in parts]
    rows.append(row("one process", [sum(memory.rank.values()) for memory in memories.values()]))
    rows.append(row("LLM, mapped once for all of them", [memory.shared for memory in memories.values()]))
    return [*rows, row(f"machine of {ranks}", [memory.of_machine(ranks) for memory in memories.values()])]
