"""Command-line options that several benchmarks share."""

from __future__ import annotations

import argparse
from pathlib import Path

from record import RESULTS

DTYPES = ("float32", "bfloat16")


def add_results(options: argparse.ArgumentParser) -> None:
    options.add_argument("--results", type=Path, default=RESULTS, help="Markdown file that receives the results")


def add_rounds(options: argparse.ArgumentParser, *, rounds: int, warmup: int) -> None:
    """The arguments of `Budget` and `Budget.rounds`, with these defaults."""
    options.add_argument("--rounds", type=int, default=rounds, help="number of measured rounds")
    options.add_argument("--warmup", type=int, default=warmup, help="number of warm-up rounds")
    options.add_argument(
        "--seconds", type=float, default=0.0, help="time limit after which rounds are skipped; 0: no limit"
    )


def add_device(options: argparse.ArgumentParser, *, dtype: str = "float32") -> None:
    """Where torch computes and in which data type. `dtype`: the default."""
    import torch  # here, because benchmarks that measure the memory of a process without torch use this module, too

    options.add_argument("--device", default="cpu", help="device: cpu or cuda")
    options.add_argument("--dtype", choices=DTYPES, default=dtype, help="data type of weights and activations")
    options.add_argument("--threads", type=int, default=torch.get_num_threads(), help="number of CPU threads")
