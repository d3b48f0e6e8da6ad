"""The training step of stage 6 under DeepSpeed's ZeRO-2 in one process, with the trainer's engine and optimiser.

Output: a section of RESULTS.md with time, throughput, MFU and peak memory. Needs DeepSpeed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass

import torch
from budget import Budget, rounds_note
from full_step import HEADER, add_options, configured, table_row
from memory import peak_gb, reset_peak
from record import write_section
from shared_options import add_rounds
from torch import Tensor, nn
from train_step import CHUNK_FRAMES, MAX_POSITIONS, SIZES, build, draw_packs, needed_flops, peak_tflops

from zipperasr.batching.batch import PackedBatch, collate
from zipperasr.cli import log, parser, run_step
from zipperasr.markdown import table
from zipperasr.train.engine import make_engine, start_ranks
from zipperasr.train.optim import LanguageAdamW
from zipperasr.train.train_config import TrainConfig

PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}


@dataclass
class Training:
    """The engine of stage 6, and one batch."""

    engine: nn.Module
    optimiser: LanguageAdamW
    batch: PackedBatch
    chunk_frames: int | None

    @classmethod
    def start(cls, options: argparse.Namespace) -> Training:
        """Build model and engine from the options of `full_step.configured`. Weights and packs are always the same."""
        start_ranks()
        torch.manual_seed(0)
        model = build(options)
        config = TrainConfig(epochs=1, packs_per_batch=options.packs, precision=PRECISIONS[options.dtype])
        engine, optimiser = make_engine(model, config)
        return cls(
            engine,
            optimiser,
            collate(draw_packs(SIZES[options.size], options.packs)),
            CHUNK_FRAMES[options.regime],
        )

    @property
    def model(self) -> nn.Module:
        return self.engine.module

    def step(self) -> float:
        """Make one update, as the trainer does. Returns the loss per label before the update."""
        self.optimiser.set_present({self.model.adapters.bank(code) for code in self.batch.speech.languages})
        loss, _, labels = self.engine(self.batch.to(self.engine.device), self.chunk_frames)
        self.engine.backward(loss / labels.item())
        self.engine.step()
        return (loss / labels).item()

    def master_weights(self) -> Tensor:
        """ZeRO's float32 copies of all trained parameters, as one vector on the CPU."""
        flat = (parameter for group in self.optimiser.param_groups for parameter in group["params"])
        return torch.cat([parameter.detach().float().flatten().cpu() for parameter in flat])


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    add_options(options)
    add_rounds(options, rounds=10, warmup=2)
    return run_step(_run, options.parse_args(argv), "benchmarks.zero_step")


def _run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    chosen = configured(options, "chunked")
    training = Training.start(chosen)
    budget = Budget(options.seconds)
    reset_peak(options.device)
    seconds, losses = [], []
    for measured in budget.rounds(options.warmup, options.rounds):
        start = time.perf_counter()
        losses.append(training.step())  # reading the loss synchronises with the device
        if options.device == "cuda":
            torch.cuda.synchronize()
        if measured:
            seconds.append(time.perf_counter() - start)
    memory = peak_gb(options.device)
    peak, source = peak_tflops(chosen)
    flops = needed_flops(training.model, "sft", training)
    row = table_row("chunked", training.batch, statistics.median(seconds), peak * 1e12, flops, memory)
    log(" | ".join(row))
    body = (
        f"Stage 6 under DeepSpeed's ZeRO-2 in one process: zipper_soft, activation checkpointing, packs of "
        f"{MAX_POSITIONS} positions, random weights, LanguageAdamW with float32 master weights; "
        f"{rounds_note(len(seconds), options.rounds)}. MFU is relative to {peak:.2f} TFLOP/s ({source}). Loss per "
        f"label: {losses[0]:.4f} in the first step, {losses[-1]:.4f} in step {len(losses)}, on the same batch."
    )
    title = f"ZeRO-2 step, {options.size}, {options.device}, {options.dtype}"
    write_section(title, f"{body}\n\n{table(HEADER, [row])}", options.results)


if __name__ == "__main__":
    sys.exit(main())
