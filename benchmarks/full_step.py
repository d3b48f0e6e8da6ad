"""The training step of stage 6 as configured in conf/full, on one device, without DeepSpeed.

zipper_soft, activation checkpointing, 16 packs (10 with full context), AdamW without float32 master weights. Output: a
section of RESULTS.md with time, throughput, MFU, peak memory and the difference between bfloat16 and float32.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import torch
from budget import Budget, rounds_note
from memory import peak_gb, reset_peak
from record import write_section
from shared_options import add_device, add_results, add_rounds
from torch import Tensor
from torch.nn import functional
from train_step import MAX_POSITIONS, SIZES, Step, contestant, needed_flops, peak_tflops

from zipperasr.audio.segments import REGIMES
from zipperasr.batching.batch import PackedBatch
from zipperasr.cli import log, parser, run_step
from zipperasr.markdown import table

PACKS = {"chunked": 16, "full": 10}  # per GPU, as in the paper
HEADER = ["regime", "packs", "s per step", "tokens per s", "audio s per s", "MFU", "peak GB"]
PARTS = {"encoder": "encoder LoRA", "adapters": "router", "projector": "projector", "llm": "LLM LoRA"}
DRAWN_STD = 0.02  # standard deviation at which both backbones initialise their linear layers


def configured(options: argparse.Namespace, regime: str, **changes) -> argparse.Namespace:
    """Return the options of `train_step.build` and `contestant` for one regime of the configured step."""
    packs = options.packs or PACKS[regime]
    fixed = {"phase": "sft", "checkpointing": True, "compile": False, "regime": regime, "packs": packs}
    return argparse.Namespace(**{**vars(options), **fixed, **changes})


def table_row(regime: str, batch: PackedBatch, seconds: float, peak_flops: float, flops: float, memory: float) -> list:
    """A table row with the columns of HEADER."""
    return [
        regime,
        str(batch.num_packs),
        f"{seconds:.3f}",
        f"{batch.num_positions / seconds:,.0f}",
        f"{batch.num_samples / 16_000 / seconds:,.0f}",
        f"{100 * flops / seconds / peak_flops:.1f} %",
        f"{memory:.2f}",
    ]


def measure(options: argparse.Namespace, budget: Budget, parts_left: int, peak_flops: float) -> tuple[list[str], int]:
    """Return the table row of one regime and the number of measured rounds."""
    reset_peak(options.device)
    ours, trained = contestant("ours", options)
    step = Step(ours, trained, options.device)
    reset_peak(options.device)
    seconds = []
    for measured in budget.rounds(options.warmup, options.rounds, parts_left):
        spent, _ = step.run()
        if measured:
            seconds.append(spent)
    memory = peak_gb(options.device)
    flops = needed_flops(ours.model, options.phase, ours)
    row = table_row(options.regime, ours.batch, statistics.median(seconds), peak_flops, flops, memory)
    log(" | ".join(row))
    return row, len(seconds)


def loss_and_gradients(options: argparse.Namespace) -> tuple[float, dict[str, Tensor]]:
    """Loss per label, and the gradient of each part of the model as one float32 vector."""
    reset_peak(options.device)
    torch.manual_seed(0)
    ours, trained = contestant("ours", options)
    for parameter in trained:
        if not parameter.any():  # B is initialised to zero, which would leave A and the router without gradients
            drawn = torch.randn(parameter.shape, device=parameter.device)
            parameter.data.copy_(DRAWN_STD * drawn)
    loss = ours.step().item() / len(ours.batch.text.label_places)
    gradients: dict[str, list[Tensor]] = {part: [] for part in PARTS}
    for name, parameter in ours.model.named_parameters():
        if parameter.grad is not None:
            gradients[name.split(".")[0]].append(parameter.grad.float().flatten().cpu())
    return loss, {part: torch.cat(vectors) for part, vectors in gradients.items()}


def precision_table(options: argparse.Namespace) -> str:
    """Compare one step in bfloat16 with the same step in float32, from the same weights."""
    (loss, rounded), (wanted, exact) = (
        loss_and_gradients(configured(options, "chunked", dtype=dtype)) for dtype in ("bfloat16", "float32")
    )
    rows = [["loss per label", f"{wanted:.5f}", f"{loss:.5f}", f"{abs(loss - wanted) / wanted:.1e} difference"]]
    for part, name in PARTS.items():
        cosine = functional.cosine_similarity(rounded[part], exact[part], dim=0).item()
        norms = (f"{vectors[part].norm():.4g}" for vectors in (exact, rounded))
        rows.append([f"gradient norm, {name}", *norms, f"cosine {cosine:.4f}"])
    return table(["one step, chunked", "float32", "bfloat16", ""], rows)


def add_options(options: argparse.ArgumentParser) -> None:
    """Options of all benchmarks that run the configured step."""
    options.add_argument("--size", choices=SIZES, default="tiny", help="size of the backbones")
    options.add_argument("--packs", type=int, default=0, help="packs per step; 0: 16 if chunked, 10 with full context")
    add_device(options, dtype="bfloat16")
    add_results(options)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    add_options(options)
    options.add_argument("--regime", choices=REGIMES, nargs="*", default=REGIMES, help="encoder context")
    add_rounds(options, rounds=10, warmup=2)
    return run_step(_run, options.parse_args(argv), "benchmarks.full_step")


def _run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    title = f"Configured training step, {options.size}, {options.device}, {options.dtype}"
    peak, source = peak_tflops(options)
    budget, rows, notes = Budget(options.seconds), [], []
    head = (
        f"Stage 6, zipper_soft, activation checkpointing, packs of {MAX_POSITIONS} positions, random weights in "
        f"{options.dtype}; forward, backward, clipping and torch's AdamW. Tokens are LLM positions: prompt, speech and "
        f"text. MFU counts the operations that the batch needs, without recomputation, relative to {peak:.2f} TFLOP/s "
        f"({source}). Peak memory includes the model."
    )
    for number, regime in enumerate(options.regime):
        chosen = configured(options, regime)
        row, made = measure(chosen, budget, len(options.regime) - number + 1, peak * 1e12)
        rows.append(row)
        notes.append(f"{regime}: {rounds_note(made, options.rounds)}")
        text = f"{head} {'; '.join(notes)}.\n\n{table(HEADER, rows)}"
        write_section(title, text, options.results)
    if budget.is_spent():
        log("skipped for lack of time: comparison of bfloat16 with float32")
        text += "\n\nSkipped for lack of time: the comparison of bfloat16 with float32."
    else:
        text += f"\n\nLoss and gradients of the same step in two precisions:\n\n{precision_table(options)}"
    write_section(title, text, options.results)


if __name__ == "__main__":
    sys.exit(main())
