"""The training loop on the simulated GPU, with a plain engine, since DeepSpeed runs on the CPU here."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch
from torch import distributed

from tests.model import tiny
from tests.simulated_gpu.test_optimiser import new_optimiser
from tests.train.conftest import tiny_recipe
from tests.train.tiny_recipe import MODEL
from zipperasr.batching.augment_config import AugmentConfig
from zipperasr.batching.augmenter import Augmenter
from zipperasr.batching.loader import ExampleReader, MicroBatches, TrainingPlan, prefetched
from zipperasr.batching.manifest import open_kind
from zipperasr.languages import LanguageTable
from zipperasr.plan.flops import batch_flops
from zipperasr.train.checkpoints import Checkpoints
from zipperasr.train.loop import Trainer, TrainingData
from zipperasr.train.schedule import Schedule
from zipperasr.train.throughput import ThroughputMeter
from zipperasr.train.train_config import TrainConfig

__all__ = ["tiny_recipe"]


class PlainEngine:
    """The methods of DeepSpeed's engine that the loop calls, for one process without ZeRO."""

    def __init__(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, accumulation: int):
        self.module, self.optimiser, self.accumulation = module, optimiser, accumulation
        self.device = next(module.parameters()).device
        self.micro_steps = 0

    def __call__(self, *inputs):
        return self.module(*inputs)

    def train(self) -> None:
        self.module.train()

    def eval(self) -> None:
        self.module.eval()

    def backward(self, loss: torch.Tensor) -> None:
        (loss / self.accumulation).backward()

    def step(self) -> None:
        self.micro_steps += 1
        if self.micro_steps % self.accumulation == 0:
            self.optimiser.step()
            self.optimiser.zero_grad()

    def was_step_applied(self) -> bool:
        return not self.optimiser.overflow

    def get_global_grad_norm(self) -> None:
        return None


OFF = AugmentConfig()
ALL = AugmentConfig(speed=(0.9, 1.1), reverb=0.5, noise=0.5, telephone=0.5, spec=1.0, freq_width=3)


@pytest.fixture
def process_group(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def trainer(base: Path, out: Path, device: str, features_on_device: bool, augment=OFF) -> Trainer:
    settings = {"precision": "fp32", "log_every": 1, "eval_every": 2, "save_every": 0, "num_workers": 0, "lr": 1e-3}
    config = TrainConfig(epochs=1, packs_per_batch=1, accumulation=2, features_on_device=features_on_device, **settings)
    model_config = tiny.model_config(base / "exp" / "backbones", **{
        name: tuple(MODEL[name]) if name == "train_chunk_s" else MODEL[name]
        for name in ("train_chunk_s", "decode_chunk_s", "max_positions")
    })  # fmt: skip
    model = tiny.sft_model(model_config).to(device)
    optimiser = new_optimiser(model)
    read = ExampleReader(
        tiny.llm_tokenizer(), LanguageTable.load(base / "conf" / "languages.tsv"), tiny.FRONTEND, not features_on_device
    )
    train, dev = (open_kind(base / "dump" / "manifest", kind, "sft") for kind in ("train", "dev"))
    plan = TrainingPlan.make(train, model_config.max_positions, 2, 1, seed=1, speeds=augment.speeds)
    dev_plan = TrainingPlan.make(dev, model_config.max_positions, 1, 1, seed=0)
    engine = PlainEngine(model, optimiser, config.accumulation)
    return Trainer(
        config,
        engine,
        optimiser=optimiser,
        data=TrainingData(
            plan=plan,
            train=MicroBatches(
                train,
                plan.batches,
                read,
                accumulation=config.accumulation,
                augmenter=Augmenter.make(augment, 1, tiny.MEL_BINS),
            ),
            dev=MicroBatches(dev, dev_plan.batches, read),
            dev_languages=("de", "es"),
        ),
        schedule=Schedule(len(plan), config, model_config, "chunked", seed=1),
        meter=ThroughputMeter(
            model_config.max_positions, flops_of_batch=functools.partial(batch_flops, model, "sft"), peak_tflops=1e-6
        ),
        checkpoints=Checkpoints(out / "checkpoints", engine),
        out=out,
    )


def curve(out: Path, name: str) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("features_on_device", "augment"), [(False, OFF), (True, OFF), (True, ALL)])
def test_a_training_has_the_cpus_losses_and_waits_once_per_step(
    gpu, tiny_recipe, process_group, tmp_path, features_on_device, augment
):
    """Once, for the loss, although a step has two micro-steps; logging and evaluation have waits of their own."""
    trainer(tiny_recipe, tmp_path / "cpu", "cpu", False, augment).run()
    on_gpu = trainer(tiny_recipe, tmp_path / "gpu", "cuda", features_on_device, augment)
    gpu.waits.clear()
    on_gpu.run()

    for name in ("train", "dev"):
        wanted = curve(tmp_path / "cpu", name)
        assert len(wanted) >= 2
        assert curve(tmp_path / "gpu", name) == pytest.approx(wanted, rel=1e-4)
    mfu = [json.loads(line)["mfu"] for line in (tmp_path / "gpu" / "train.jsonl").read_text().splitlines()]
    assert len(mfu) >= 2 and all(share > 0 for share in mfu)
    once = ("_runs_of", "_bands")  # the optimiser's runs of elements; the mel filters
    apart = ("of_all_ranks", "dev_losses", "_evaluate")  # for a line of train.jsonl, dev.jsonl or router.jsonl
    places = [wait.place.split()[-1] for wait in gpu.waits]
    assert [place for place in places if place not in (*once, *apart)] == ["_step"] * on_gpu.schedule.num_steps
    assert places.count("dev_losses") == 2  # evaluations, of several packs each


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_loader_pins_every_tensor_of_a_batch(gpu, tiny_recipe, process_group, tmp_path, num_workers):
    for features_on_device in (False, True):
        data = trainer(tiny_recipe, tmp_path, "cpu", features_on_device).data.train
        batch = next(iter(prefetched(data, 0, num_workers)))
        tensors = [*vars(batch.text).values(), batch.speech.mel, *batch.speech.audio]
        tensors = [tensor for tensor in tensors if isinstance(tensor, torch.Tensor)]
        assert len(tensors) > 4 and all(tensor.is_pinned() for tensor in tensors)
