"""A variant added at run time, as by a plug-in: one class and one registry entry are enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from tests.model import tiny
from tests.model.conftest import backbones, config
from tests.model.test_experiment import aligned, finish
from zipperasr.batching.batch import PackedBatch, collate
from zipperasr.config import load_yaml, to_tree
from zipperasr.exchange.plain_lora import encoder_state, plain_lora
from zipperasr.lora import VARIANTS
from zipperasr.lora.base import LoraLinear, Mixture, Options
from zipperasr.lora.merging import merged
from zipperasr.model.checkpoint import count_trained, trained_state
from zipperasr.model.experiment import WEIGHTS, Experiment
from zipperasr.model.experiment_model import build_for_training, load_model
from zipperasr.model.model_config import ModelConfig
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.ranges import SHARE, check_ranges

__all__ = ["aligned", "backbones", "config"]


@dataclass(frozen=True)
class FadingOptions(Options):
    """How fast the language-specific part fades in."""

    step: float = field(default=0.125, metadata={"meaning": "what the specific share grows by after a step"})

    def __post_init__(self) -> None:
        check_ranges(self, {"step": SHARE})


class Fading(LoraLinear):
    """B(l) = B_shared + s B_spec(l); s grows by `step` after every optimiser step, up to 1."""

    options_class = FadingOptions
    bank_starts = ("zero",)
    saved_buffers = ("share",)

    def create_parameters(self) -> None:
        self.a = self.new_down()
        self.b_shared = self.new_up()
        self.b_specific = self.new_up(self.num_languages)
        self.register_buffer("share", torch.zeros(()))

    def down(self, banks: Tensor) -> Tensor:
        return self.a[None]

    def up(self, banks: Tensor) -> Tensor:
        return self.b_shared + self.share * self.b_specific[banks]

    def mixed_delta(self, mixture: Mixture) -> Tensor:
        return self.delta_of_mixed_bank(mixture)

    @classmethod
    def after_step(cls, layers: Sequence[Fading]) -> None:
        for layer in layers:
            layer.share.add_(layer.options.step).clamp_(max=1.0)


@pytest.fixture
def fading(monkeypatch):
    monkeypatch.setitem(VARIANTS, "fading", Fading)


@pytest.fixture
def model_yaml(config, tmp_path, fading) -> ModelConfig:
    """The tiny model's configuration, read from YAML that sets the variant's option."""
    path = tmp_path / "model.yaml"
    lora = "{rank: 4, alpha: 8, fading: {step: 0.25}}"
    path.write_text(
        f"whisper: {config.whisper}\nllm: {config.llm}\nmel_bins: {config.mel_bins}\nencoder_lora: {lora}\n"
    )
    return load_yaml(ModelConfig, path)


def train(model: SpeechLLM, batch: PackedBatch, steps: int) -> list[float]:
    """Train a few steps. Returns the loss per label of each."""
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(steps):
        loss, stats, weight = model(batch, 100)
        (loss / weight).backward()
        optimiser.step()
        optimiser.zero_grad()
        model.adapters.after_step()
        losses.append(stats["loss"].item())
    return losses


def trained(model_yaml: ModelConfig, alignment) -> tuple[Experiment, SpeechLLM, list[float]]:
    experiment = Experiment("sft", "full", "fading", str(alignment), tiny.CODES, 1, model_yaml)
    model = build_for_training(experiment, torch.float32, seed=1)
    return experiment, model, train(model, collate(tiny.two_packs()), 6)


def test_it_trains_with_its_option_and_its_after_step_hook(model_yaml, aligned):
    _, model, losses = trained(model_yaml, aligned[0])
    layers = list(model.adapters.layers.values())
    assert losses[-1] < losses[0]
    assert all(layer.options.step == 0.25 and layer.share == 1.0 for layer in layers)
    german, spanish = (model.adapters.bank(code) for code in ("de", "es"))
    assert all(layer.b_specific[german].any() and not layer.b_specific[spanish].any() for layer in layers)


def test_it_is_saved_loaded_and_merged(model_yaml, aligned, tmp_path):
    experiment, model, _ = trained(model_yaml, aligned[0])
    directory = aligned[0].parent / "fading"
    finish(experiment, model, directory)
    assert to_tree(Experiment.load(directory).model)["encoder_lora"]["fading"] == {"step": 0.25}
    loaded, batch = load_model(directory).eval(), collate(tiny.two_packs()[:1])  # German
    names = trained_state(loaded).keys()
    loaded.requires_grad_(False)
    logits = loaded.packed_logits(batch, None)
    assert torch.equal(logits, model.eval().requires_grad_(False).packed_logits(batch, None))
    with merged(loaded.adapters, "de") as is_merged:
        torch.testing.assert_close(loaded.packed_logits(batch, None), logits)
    assert is_merged
    with merged(loaded.adapters, {"de": 0.5, "es": 0.5}):
        assert not torch.allclose(loaded.packed_logits(batch, None), logits)
    parameters = sum(p.numel() for name, p in loaded.named_parameters() if name in names and "encoder" in name)
    assert count_trained(directory / WEIGHTS)[0] == parameters, "saved_buffers are not parameters"


def test_it_is_exported_as_a_plain_lora(model_yaml, aligned):
    _, model, _ = trained(model_yaml, aligned[0])
    name, layer = next(iter(model.adapters.layers.items()))
    model.requires_grad_(False)
    down, up = plain_lora(model, "de")[name]
    state = encoder_state(model, "de")[f"{name}.weight"]
    torch.testing.assert_close(state, layer.base.weight + layer.scaling * up @ down)


def test_an_invalid_option_is_an_error(tmp_path, fading):
    path = tmp_path / "model.yaml"
    for text, message in {
        "{fading: {step: 2}}": "encoder_lora: fading: step: got 2.0, wanted 0 to 1",
        "{fading: {stop: 0.5}}": "encoder_lora: fading: unknown key 'stop'; did you mean 'step'",
    }.items():
        path.write_text(f"whisper: w\nllm: l\nencoder_lora: {text}\n")
        with pytest.raises(ValueError, match=f"model.yaml: {message}"):
            load_yaml(ModelConfig, path)
