"""Forward and backward pass of one linear layer: each LoRA variant, PEFT's LoRA, and the frozen layer without adapters.

Output: a table in RESULTS.md. The input is a batch in several languages, as in training, and a batch in one language.
The layers alternate in each round, so that variations in the machine's speed affect all of them equally.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from budget import Budget, rounds_note
from peft import LoraConfig, inject_adapter_in_model
from record import write_section
from shared_options import add_device, add_results, add_rounds
from torch import Tensor, nn

from zipperasr.cli import log, parser, run_step
from zipperasr.lora import VARIANTS
from zipperasr.lora.injection import inject
from zipperasr.markdown import table

CODES = ("en", "fr", "th", "de", "es", "ru", "vi", "it", "ar", "ja", "ko", "pt")
RANK, ALPHA, LID_WIDTH = 32, 64.0, 1280  # from the paper; the width is that of Whisper large-v3
SHAPES = {"q, k, v, out": (1280, 1280), "fc1": (1280, 5120), "fc2": (5120, 1280)}  # d_in, d_out of Whisper large-v3
PEER, ALONE = "PEFT LoRA", "frozen layer alone"


@dataclass(frozen=True)
class Contestant:
    """A layer, and what must be called before each batch."""

    module: nn.Module
    prepare: Callable[[], None] = lambda: None

    def seconds(self, x: Tensor, upstream: Tensor) -> float:
        """Time one step: the router if there is one, the forward pass, gradients of input and trained weights."""
        for parameter in self.module.parameters():
            parameter.grad = None
        x = x.detach().requires_grad_()
        _wait(x)
        start = time.perf_counter()
        self.prepare()
        self.module(x).backward(upstream)
        _wait(x)
        return time.perf_counter() - start


def contestants(shape: tuple[int, int], num_languages: int, options: argparse.Namespace) -> dict[str, Contestant]:
    """The frozen layer, PEFT's LoRA and each of our variants on a layer of this shape."""
    torch.manual_seed(1)
    modules = {name: nn.Sequential(nn.Linear(*shape)).to(options.device) for name in (ALONE, PEER, *VARIANTS)}
    modules[ALONE].requires_grad_(False)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"], lora_dropout=0.0)
    inject_adapter_in_model(config, modules[PEER])
    prepare = {}
    counts = [options.rows // num_languages + (i < options.rows % num_languages) for i in range(num_languages)]
    for variant in VARIANTS:
        lid = torch.randn(len(CODES), LID_WIDTH, device=options.device)
        adapters = inject(modules[variant], variant, ["0"], CODES, lid, RANK, ALPHA)
        prepare[variant] = functools.partial(adapters.set_batch, CODES[:num_languages], counts)
    for module in modules.values():
        for parameter in module.parameters():
            parameter.data = parameter.data.to(getattr(torch, options.dtype))
    return {name: Contestant(module, prepare.get(name, lambda: None)) for name, module in modules.items()}


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


def measure(num_languages: int, options, budget: Budget, parts_left: int) -> tuple[list[list[str]], int]:
    """Return one table row per layer, and the smallest number of rounds measured for any shape.

    A row has the ratio to PEFT's time for each shape, as the median over the rounds.
    """
    rows: dict[str, list[str]] = {}
    made = options.rounds
    for number, (what, shape) in enumerate(SHAPES.items()):
        field = contestants(shape, num_languages, options)
        x, upstream = (
            torch.randn(options.rows, width, device=options.device, dtype=getattr(torch, options.dtype))
            for width in shape
        )
        seconds: dict[str, list[float]] = {name: [] for name in field}
        for measured in budget.rounds(options.warmup, options.rounds, parts_left - number):
            for name, contestant in field.items():
                spent = contestant.seconds(x, upstream)
                if measured:
                    seconds[name].append(spent)
        peer = seconds[PEER]
        made = min(made, len(peer))
        log(f"{num_languages} languages, {what}: {PEER} {1000 * statistics.median(peer):.1f} ms")
        for name, spent in seconds.items():
            ratio = statistics.median(a / b for a, b in zip(spent, peer, strict=True))
            rows.setdefault(name, [name]).append(f"{ratio:.2f} ({1000 * statistics.median(spent):.2f})")
    return list(rows.values()), made


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=6144, help="encoder frames in the batch")
    options.add_argument("--languages", type=int, default=8, help="number of languages in the multilingual batch")
    add_rounds(options, rounds=15, warmup=3)
    add_device(options)
    add_results(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.lora")


def _run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    budget = Budget(options.seconds)
    parts = [
        "Time relative to PEFT's LoRA on the same layer in the same run; below 1 is faster (milliseconds in brackets). "
        f"Rank {RANK}, {len(CODES)} languages in the model, {options.rows} rows of {options.dtype}, "
        f"{options.threads} CPU threads."
    ]
    batches = ((options.languages, f"A batch in {options.languages} languages"), (1, "A batch in one language"))
    header = ["layer", *(f"{name}: {d_in} x {d_out}" for name, (d_in, d_out) in SHAPES.items())]
    for number, (count, what) in enumerate(batches):
        rows, made = measure(count, options, budget, len(SHAPES) * (len(batches) - number))
        parts += [f"{what}, {rounds_note(made, options.rounds)}:", table(header, rows)]
        write_section(f"LoRA layer, {options.device}, {options.dtype}", "\n\n".join(parts), options.results)


if __name__ == "__main__":
    sys.exit(main())
