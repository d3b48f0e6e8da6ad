"""Program of each rank in test_step.py: compare gradients and weights of DeepSpeed with those of plain torch.

In: backbones, and an output directory with cases.json: {name: settings of TrainConfig, and of DeepSpeed under
"deepspeed"}; torch.distributed's environment variables must be set. Out: <name>.json by rank 0; errors are relative to
the norm of the exact value.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, distributed

from tests.model import tiny
from tests.train.worker import free_port, log_of, wait
from zipperasr.batching.batch import collate
from zipperasr.model.model_config import EncoderLoraConfig
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.train import engine as engine_module
from zipperasr.train.engine import make_engine, parameter_groups, start_ranks
from zipperasr.train.train_config import TrainConfig

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LANGUAGES = (("de", "es"), ("es", "de"), ("ja", "de"))  # of the two packs of each step; es is absent from the last
LOSS_SCALE = 256.0  # of fp16; static, since a dynamic scale skips the first steps


def launch(backbones: Path, out: Path, cases: Mapping[str, Mapping], world_size: int) -> dict[str, dict]:
    """Run all cases with `world_size` ranks. Returns rank 0's results; raises RuntimeError with the ranks' output."""
    (out / "cases.json").write_text(json.dumps(cases))
    settings = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    settings |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tests.train.step_worker", str(backbones), str(out)]
    ranks = []
    for rank in range(world_size):
        environment = {**os.environ, **settings, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        with log_of(out, rank).open("w") as log:
            root = Path(__file__).resolve().parents[2]
            ranks.append(subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log))
    wait(ranks)
    if failed := [log_of(out, rank).read_text()[-3000:] for rank, one in enumerate(ranks) if one.returncode]:
        raise RuntimeError("\n".join(failed))
    return {name: json.loads((out / f"{name}.json").read_text()) for name in cases}


def main(backbones: Path, out: Path) -> None:
    rank, _ = start_ranks()
    for name, settings in json.loads((out / "cases.json").read_text()).items():
        found = run(backbones, dict(settings))
        if rank == 0:
            (out / f"{name}.json").write_text(json.dumps(found))


def run(backbones: Path, settings: dict) -> dict:
    """One case: three steps by DeepSpeed and by plain torch, from the same weights."""
    variant, more = settings.pop("variant", "zipper_soft"), settings.pop("deepspeed", {})
    config = TrainConfig(epochs=1, packs_per_batch=1, lr=1e-2, gradient_clipping=0.0, **settings)
    lora = EncoderLoraConfig(rank=4, alpha=8.0)
    model = tiny.sft_model(tiny.model_config(backbones, encoder_lora=lora), variant)
    plain = PlainTraining(copy.deepcopy(model), config)
    if config.precision == "fp16":
        more = {**more, "fp16": {"enabled": True, "loss_scale": LOSS_SCALE}}
    with mock.patch.object(engine_module, "deepspeed_config", with_settings(more)):
        engine, optimiser = make_engine(model, config)
    gradients, whole_step = [], optimiser.step

    def keep_gradients_and_step(*inputs):
        gradients.extend(p.grad.double().flatten().clone() for group in optimiser.param_groups for p in group["params"])
        whole_step(*inputs)

    optimiser.step = keep_gradients_and_step
    errors = []
    for step, languages in enumerate(LANGUAGES):
        present = [model.adapters.bank(code) for code in languages]
        optimiser.set_present(present)
        engine.train()
        batches = [batch_of(step, micro, languages) for micro in range(config.accumulation)]
        for batch in batches:
            engine.backward(engine(batch)[0])
            engine.step()
        exact = plain.step(batches, present)
        flat = [flat_slice(group, config.zero_stage) for group in exact]
        errors.append(relative(torch.cat(gradients), torch.cat(flat)))  # ZeRO calls `step` once per group
        gradients.clear()
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    expected = dict(plain.model.named_parameters())
    return {
        "gradient": max(errors),
        "weights": relative(
            *(torch.cat([w[name].double().flatten() for name in weights]) for w in (weights, expected))
        ),
        "moved": relative(
            *(torch.cat([w[name].double().flatten() for name in weights]) for w in (weights, plain.start))
        ),
        "dtype": str(next(iter(weights.values())).dtype),
        "optimiser": type(engine.optimizer).__name__,
        "steps_by_language": sorted(
            {tuple(s["step"].tolist()) for s in optimiser.state.values() if len(s["step"]) > 1}
        ),
    }


def with_settings(more: Mapping):
    """`deepspeed_config` with some values replaced; None removes a key."""
    ours = engine_module.deepspeed_config

    def config(*inputs):
        merged = ours(*inputs)
        for key, value in more.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = {**merged[key], **value} if both else value
        return {key: value for key, value in merged.items() if value is not None}

    return config


def batch_of(step: int, micro: int, languages: tuple[str, str]):
    """One pack per rank, each of its own language; a single rank gets both packs."""
    packs = []
    for place, code in enumerate(languages):
        seed = 100 * step + 10 * micro + place
        packs.append([tiny.example(f"u{seed}", code, 6000 + 777 * seed % 5000, "ein Wort", seed)])
    world_size = distributed.get_world_size()
    return collate(packs if world_size == 1 else [packs[distributed.get_rank()]])


class PlainTraining:
    """The same steps by plain torch: gradients summed in float64, and one AdamW parameter for each language of a bank.

    Weights are kept in float32; the model computes in the precision of the case.
    """

    def __init__(self, model: SpeechLLM, config: TrainConfig):
        self.model, self.config, self.dtype = model.train(), config, DTYPES[config.precision]
        for parameter in model.parameters():
            parameter.data = parameter.data.to(self.dtype)
        self.start = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.groups = parameter_groups(model, config)
        self.masters = {p: p.detach().float() for group in self.groups for p in group["params"]}
        self.rows, groups = {}, []
        for group in self.groups:
            for parameter in group["params"]:
                master = self.masters[parameter]
                rows = list(master) if group["banks"] else [master]
                self.rows[parameter] = [row.detach().clone().requires_grad_() for row in rows]
                groups.append({"params": self.rows[parameter], "weight_decay": group["weight_decay"]})
        self.adam = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)

    def step(self, batches, present: list[int]) -> list[list[Tensor]]:
        """Returns the exact gradients by group."""
        sums = {p: torch.zeros_like(p, dtype=torch.float64) for p in self.masters}
        scale = LOSS_SCALE if self.dtype == torch.float16 else 1.0
        for batch in batches:
            self.model.zero_grad()
            (self.model(batch)[0] / self.config.accumulation * scale).backward()
            for parameter, total in sums.items():
                if parameter.grad is not None:
                    total += parameter.grad.double() / scale
        for total in sums.values():
            distributed.all_reduce(total)
            total /= distributed.get_world_size()
        for group in self.groups:
            for parameter in group["params"]:
                gradient = sums[parameter].float()
                for number, row in enumerate(self.rows[parameter]):
                    held = group["banks"] and number not in present
                    row.grad = None if held else (gradient[number] if group["banks"] else gradient)
        self.adam.step()
        for parameter, rows in self.rows.items():
            parameter.data = torch.stack(rows).view_as(parameter).to(self.dtype)
        return [[sums[parameter] for parameter in group["params"]] for group in self.groups]


def flat_slice(gradients: list[Tensor], zero_stage: int) -> Tensor:
    """What a rank's optimiser sees of a group: everything, or with ZeRO this rank's slice of the padded group."""
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    world_size = distributed.get_world_size()
    if zero_stage == 0:
        return flat
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % (2 * world_size)))
    return padded.view(world_size, -1)[distributed.get_rank()]


def relative(value: Tensor, exact: Tensor) -> float:
    return ((value - exact).norm() / exact.norm()).item()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
