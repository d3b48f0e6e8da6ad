"""Resuming from a checkpoint under ZeRO-2: is the next step the same as without an interruption?

Output: a section of RESULTS.md with the time to save and to load, and the differences in loss and master weights after
that step. Needs DeepSpeed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import torch
from full_step import add_options, configured
from record import write_section
from zero_step import Training

from zipperasr.cli import log, parser, run_step
from zipperasr.markdown import table
from zipperasr.train.checkpoints import Checkpoints, SavedCheckpoint
from zipperasr.train.throughput import Window

LOSS_TOLERANCE = 1e-3  # relative: GPU kernels may sum in a different order
UPDATE_TOLERANCE = 0.1  # norm of the difference in weights, relative to the norm of the step's update


def unbroken(options: argparse.Namespace, work: Path) -> None:
    """Take two steps and save a checkpoint between them."""
    torch.set_num_threads(options.threads)
    training = Training.start(options)
    training.step()
    before = training.master_weights()
    start = time.perf_counter()
    Checkpoints(work / "checkpoints", training.engine).save(1, Window())
    seconds = time.perf_counter() - start
    loss = training.step()
    after = training.master_weights()
    facts = {"loss": loss, "weights": after, "update": (after - before).norm().item(), "seconds": seconds}
    torch.save(facts, work / "unbroken.pt")


def resumed(options: argparse.Namespace, work: Path) -> None:
    """Take the second step from the checkpoint."""
    torch.set_num_threads(options.threads)
    training = Training.start(options)
    start = time.perf_counter()
    saved = SavedCheckpoint.newest(work / "checkpoints")
    if saved is None:
        raise ValueError(f"{work}/checkpoints: no complete checkpoint")
    Checkpoints(work / "checkpoints", training.engine).load(saved)
    seconds = time.perf_counter() - start
    loss = training.step()
    torch.save({"loss": loss, "weights": training.master_weights(), "seconds": seconds}, work / "resumed.pt")


def _saved(work: Path, name: str) -> dict:
    return torch.load(work / f"{name}.pt", weights_only=True)  # noqa: TID251  # written by this script; weights_only executes no code


def compare(work: Path) -> tuple[float, float]:
    """Return the relative differences of the loss and the weights. Raises ValueError if they exceed the tolerances.

    The difference in weights is relative to the step's update.
    """
    first, second = (_saved(work, name) for name in ("unbroken", "resumed"))
    loss = abs(second["loss"] - first["loss"]) / first["loss"]
    weights = (second["weights"] - first["weights"]).norm().item() / first["update"]
    if not (loss <= LOSS_TOLERANCE and weights <= UPDATE_TOLERANCE):
        raise ValueError(
            f"the resumed step differs: loss {loss:.1e} (wanted at most {LOSS_TOLERANCE:g}), weights {weights:.1e} of "
            f"the update (wanted at most {UPDATE_TOLERANCE:g})"
        )
    return loss, weights


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    add_options(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.resume")


def _run(options: argparse.Namespace) -> None:
    chosen = configured(options, "chunked")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "checkpoints").mkdir()
        for part in (unbroken, resumed):
            _in_new_process(part, chosen, work)
        loss, weights = compare(work)
        size_gb = sum(file.stat().st_size for file in work.glob("checkpoints/step-1/**/*") if file.is_file()) / 1e9
        saved, loaded = (_saved(work, name)["seconds"] for name in ("unbroken", "resumed"))
    rows = [
        ["checkpoint, GB", f"{size_gb:.3g}"],
        ["save, s", f"{saved:.1f}"],
        ["load, s", f"{loaded:.1f}"],
        ["loss of the next step, relative difference", "equal" if loss == 0 else f"{loss:.1e}"],
        ["weights after it, difference relative to the update", "equal" if weights == 0 else f"{weights:.1e}"],
    ]
    log("; ".join(": ".join(row) for row in rows))
    body = (
        f"Stage 6 under ZeRO-2, {chosen.packs} packs. One process takes two steps and saves a checkpoint between them; "
        "a second process loads the checkpoint and takes the second step."
    )
    title = f"Resuming, {options.size}, {options.device}, {options.dtype}"
    write_section(title, f"{body}\n\n{table(['quantity', 'value'], rows)}", options.results)


def _in_new_process(part, *arguments) -> None:
    process = multiprocessing.get_context("spawn").Process(target=part, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise ValueError(f"the {part.__name__} process exited with status {process.exitcode}; see its output above")


if __name__ == "__main__":
    sys.exit(main())
