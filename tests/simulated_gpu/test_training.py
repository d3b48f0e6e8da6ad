"""A training step on the simulated GPU: the CPU's losses and gradients, without waits of the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch

from tests.model import tiny
from zipperasr.batching.batch import Example, collate
from zipperasr.lora import VARIANTS
from zipperasr.model import ragged
from zipperasr.model.speech_llm import SpeechLLM

CHUNK_FRAMES = {"chunked": 40, "full": None}
in_all_phases = pytest.mark.parametrize("variant", ["align", *sorted(VARIANTS)])
in_both_regimes = pytest.mark.parametrize("regime", sorted(CHUNK_FRAMES))


def new_model(backbones, variant: str, dtype: torch.dtype, checkpointing: bool = False) -> SpeechLLM:
    config = tiny.model_config(backbones, checkpointing=checkpointing)
    model = tiny.align_model(config) if variant == "align" else tiny.sft_model(config, variant)
    return model.to(dtype).train()


def loss_and_gradient(model: SpeechLLM, regime: str, packs: list[list[Example]]):
    """Loss per label and the gradient of each trainable parameter, on the model's device."""
    batch = collate(packs)
    if model.causal_lm.device.type == "cuda":
        batch = batch.pin_memory().to("cuda")
    loss, _, num_labels = model(batch, CHUNK_FRAMES[regime])
    (loss / num_labels).backward()
    return loss.detach() / num_labels, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def steps_on_gpu(gpu, backbones, variant: str, dtype: torch.dtype, regime: str) -> Iterator[tuple]:
    """(loss, gradient) with and without activation checkpointing; the host must not wait."""
    for checkpointing in (False, True):
        model = new_model(backbones, variant, dtype, checkpointing).to("cuda")
        packs = tiny.two_packs()
        gpu.waits.clear()
        found = loss_and_gradient(model, regime, packs)
        assert gpu.waits == []
        yield found


def error(gradient: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """Norm of the difference of all gradients, relative to their norm."""
    assert gradient.keys() == wanted.keys()
    pairs = [(gradient[name].cpu().double(), w.double()) for name, w in wanted.items()]
    difference = torch.stack([(found - w).norm() for found, w in pairs]).norm()
    return float(difference / torch.stack([w.norm() for _, w in pairs]).norm())


@in_all_phases
@in_both_regimes
def test_a_step_in_float32_equals_the_cpus_without_waits(gpu, backbones, variant, regime):
    wanted_loss, wanted = loss_and_gradient(new_model(backbones, variant, torch.float32), regime, tiny.two_packs())
    for loss, gradient in steps_on_gpu(gpu, backbones, variant, torch.float32, regime):
        assert loss.item() == pytest.approx(wanted_loss.item(), rel=1e-6)
        assert error(gradient, wanted) < 1e-5


@in_all_phases
@in_both_regimes
def test_a_step_in_bfloat16_is_close_to_float32_without_waits(gpu, backbones, variant, regime):
    """Compared with a float32 step of the same weights. The CPU rounds elsewhere and is no closer (0.01 to 0.13)."""
    exact = new_model(backbones, variant, torch.bfloat16).float()
    wanted_loss, wanted = loss_and_gradient(exact, regime, tiny.two_packs())
    for loss, gradient in steps_on_gpu(gpu, backbones, variant, torch.bfloat16, regime):
        assert loss.item() == pytest.approx(wanted_loss.item(), rel=2e-3)
        assert error(gradient, wanted) < 0.1


def without_features(example: Example) -> Example:
    """An example of `two_packs` with its audio instead of its features."""
    audio = tiny.noise(example.num_samples, seed="-abcde".index(example.utt_id))
    return dataclasses.replace(example, mel=None, audio=audio)


def test_features_on_the_device_give_the_same_step(gpu, backbones):
    packs = tiny.two_packs()
    of_audio = [[without_features(example) for example in pack] for pack in packs]
    wanted_loss, wanted = loss_and_gradient(new_model(backbones, "zipper_soft", torch.float32), "chunked", packs)
    model = new_model(backbones, "zipper_soft", torch.float32).to("cuda")
    batch = collate(of_audio, tiny.FRONTEND).pin_memory()
    batch.to("cuda")  # copies the mel filters once
    gpu.waits.clear()
    loss, _, num_labels = model(batch.to("cuda"), CHUNK_FRAMES["chunked"])
    (loss / num_labels).backward()
    assert gpu.waits == []
    gradient = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert loss.item() / num_labels == pytest.approx(wanted_loss.item(), rel=1e-6)
    assert error(gradient, wanted) < 1e-5


def test_half_precision_needs_no_flash_attention(gpu, backbones, monkeypatch):
    """Turing (7.5) has fp16 but no FlashAttention: its operator raises an error."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
    ragged.has_flash_attention.cache_clear()
    try:
        model = new_model(backbones, "zipper_soft", torch.float16).to("cuda")
        loss, _ = loss_and_gradient(model, "chunked", tiny.two_packs())
    finally:
        ragged.has_flash_attention.cache_clear()
    wanted, _ = loss_and_gradient(new_model(backbones, "zipper_soft", torch.float32), "chunked", tiny.two_packs())
    assert loss.item() == pytest.approx(wanted.item(), rel=2e-3)


def test_recomputation_does_not_save_the_random_number_state(backbones, monkeypatch):
    """There is no dropout. On a GPU, each layer would read and set the generator's state."""

    def unwanted():
        raise AssertionError("the state of the random numbers was read")

    model = new_model(backbones, "zipper_soft", torch.float32, checkpointing=True)
    monkeypatch.setattr(torch, "get_rng_state", unwanted)
    loss_and_gradient(model, "chunked", tiny.two_packs())
