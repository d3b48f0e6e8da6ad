"""Trainings that are killed and resumed by another number of processes, each leg forked from this process.

In: a tiny recipe, its alignment, an output directory. Out: training directories; beside each, <name>_states with the
optimiser's state at every checkpoint as saved, as loaded, and at the end: whole groups, collected from all ranks.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, distributed

from tests.train.tiny_recipe import options
from tests.train.warm import ENVIRONMENT
from tests.train.worker import free_port

TIMEOUT_S = 1800
NUM_STEPS = 6
PACKS_PER_STEP = 4
SEED = 9  # with which the third step has no Spanish
COMMON = ("packs_per_batch=1", "epochs=3", "save_every=1", "eval_every=4")
# name -> settings; legs (processes, number of steps after which they are killed, before they save)
CASES = {
    "unbroken": ((), [(2, None)]),
    "fp32_2": ((), [(2, 3), (1, 4), (4, 5), (2, None)]),
    "fp32_1": (("zero_stage=1",), [(1, 3), (2, None)]),
    "fp32_0": (("zero_stage=0",), [(2, 3), (1, None)]),
    "bf16": (("precision=bf16",), [(1, None)]),
    "bf16_2": (("precision=bf16",), [(2, 3), (1, None)]),
    "bf16_1": (("precision=bf16", "zero_stage=1"), [(1, 3), (2, None)]),
    "bf16_0": (("precision=bf16", "zero_stage=0"), [(1, 3), (2, None)]),
}


def launch(base: Path, align: Path, out: Path) -> None:
    """Run this file. Raises RuntimeError with the end of its output if it fails."""
    command = [sys.executable, "-m", "tests.train.elastic_worker", str(base), str(align), str(out)]
    root = Path(__file__).resolve().parents[2]
    with (out / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=root, env={**os.environ, **ENVIRONMENT}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        status = process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the ranks, which would wait for each other
        raise
    if status:
        raise RuntimeError((out / "log").read_text()[-3000:])


def main(base: Path, align: Path, out: Path, names: list[str]) -> None:
    importlib.import_module("tests.train.preload")  # once, because it takes longer than a training
    paths = options(base, config="conf/sft.yaml", manifest="dump/manifest", lid="exp/lid")
    sft = ["--phase", "sft", "--init", str(align), "--lora", "zipper_soft", "--seed", str(SEED), *paths]
    for name in names or CASES:
        settings, legs = CASES[name]
        (out / f"{name}_states").mkdir()
        accumulation = f"accumulation={PACKS_PER_STEP // legs[0][0]}"  # the same command for all legs
        arguments = [*sft, "--out", str(out / name), "--set", *COMMON, accumulation, *settings]
        for world_size, killed_after in legs:
            run_leg(arguments, world_size, killed_after)


def run_leg(arguments: list[str], world_size: int, killed_after: int | None) -> None:
    """Train in `world_size` forked processes. Raises RuntimeError if one does not end as it should."""
    port, ranks = free_port(), []
    for rank in range(world_size):
        ranks.append(os.fork())
        if not ranks[-1]:
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
            os.environ.update(place, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            os._exit(train(arguments, killed_after))
    wanted, left = -signal.SIGKILL if killed_after else 0, set(ranks)
    while left:
        process, status = os.wait()
        left.remove(process)
        if os.waitstatus_to_exitcode(status) != wanted:
            for other in left:
                os.kill(other, signal.SIGKILL)
            raise RuntimeError(f"a rank of {world_size} ended with wait status {status}: {' '.join(arguments)}")


def train(arguments: list[str], killed_after: int | None) -> int:
    from zipperasr.stages.train import main as train
    from zipperasr.train.loop import Trainer

    run, save = Trainer.run, Trainer._save_checkpoint

    def run_and_look(trainer):
        if trainer.start_step:
            write_state(trainer, f"loaded-{trainer.start_step}")
        result = run(trainer)
        write_state(trainer, "end")
        return result

    def save_or_die(trainer, done):
        if done == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)
        save(trainer, done)
        write_state(trainer, f"saved-{done}")

    Trainer.run, Trainer._save_checkpoint = run_and_look, save_or_die
    start = time.process_time()
    try:
        return train(arguments)
    finally:
        print(f"CPU seconds: {time.process_time() - start:.1f}", file=sys.stderr, flush=True)


def write_state(trainer, name: str) -> None:
    """Write master weights, moments, step counts and the language of each element, by number of the group."""
    zero, state = trainer.config.zero_stage > 0, {}
    for number, group in enumerate(trainer.optimiser.param_groups):
        numel = sum(map(torch.numel, trainer.engine.optimizer.round_robin_bit16_groups[number])) if zero else None

        def whole(tensors: list[Tensor], numel: int | None = numel) -> Tensor:
            flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
            if not zero:
                return flat
            parts = [torch.empty_like(flat) for _ in range(distributed.get_world_size())]
            distributed.all_gather(parts, flat)
            return torch.cat(parts)[:numel]

        of_params = [trainer.optimiser.state[parameter] for parameter in group["params"]]
        state[f"{number}.weights"] = whole(group["params"])
        for key in ("exp_avg", "exp_avg_sq"):
            state[f"{number}.{key}"] = whole([of_param[key] for of_param in of_params])
        state[f"{number}.step"] = torch.stack([of_param["step"] for of_param in of_params])
        if group["banks"]:
            banks = [trainer.optimiser.bank_of_element[parameter].long() for parameter in group["params"]]
            state["languages"] = whole(banks)
    if distributed.get_rank() == 0:
        save_file(state, trainer.out.with_name(f"{trainer.out.name}_states") / f"{name}.safetensors")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4:])
