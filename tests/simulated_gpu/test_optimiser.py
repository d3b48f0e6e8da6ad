"""The optimiser on the simulated GPU: the CPU's steps, no waits, and resuming from state loaded to the CPU."""

from __future__ import annotations

import io

import pytest
import torch

from tests.model import tiny
from tests.simulated_gpu.test_training import loss_and_gradient, new_model
from zipperasr.lora import VARIANTS
from zipperasr.train.engine import parameter_groups
from zipperasr.train.optim import LanguageAdamW
from zipperasr.train.train_config import TrainConfig

PRESENT = [[0, 2], [0, 1, 2], [2]]  # languages of each step's global batch


def new_optimiser(model) -> LanguageAdamW:
    groups = parameter_groups(model, TrainConfig(epochs=1, lr=1e-2))
    optimiser = LanguageAdamW(groups, 1e-2, (0.9, 0.95), len(tiny.CODES))
    optimiser.bank_of_element = {
        bank: torch.arange(len(bank), device=bank.device).repeat_interleave(bank[0].numel(), output_size=bank.numel())
        for group in optimiser.param_groups if group["banks"] for bank in group["params"]
    }  # fmt: skip
    optimiser.checks_gradients = False  # as under ZeRO
    return optimiser


def one_step(model, optimiser, number: int) -> float:
    loss, _ = loss_and_gradient(model, "chunked", tiny.two_packs())
    for group in optimiser.param_groups:
        group["lr"] = 1e-2 / (number + 1)
    optimiser.set_present(PRESENT[number])
    optimiser.step()
    optimiser.zero_grad()
    return loss.item()


def weights(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("variant", ["zipper_soft", "independent", "flylora"])
def test_resuming_from_state_on_the_cpu_equals_an_uninterrupted_training(gpu, backbones, variant):
    """DeepSpeed loads with map_location="cpu", and torch then leaves the state `step` on the CPU."""
    model = new_model(backbones, variant, torch.float32).to("cuda")
    optimiser = new_optimiser(model)
    for number in range(2):
        one_step(model, optimiser, number)
    saved = io.BytesIO()
    torch.save({"model": weights(model), "optimiser": on_cpu(optimiser.state_dict())}, saved)
    one_step(model, optimiser, 2)
    wanted = weights(model)

    saved.seek(0)
    checkpoint = torch.load(saved, map_location="cpu")
    model = new_model(backbones, variant, torch.float32).to("cuda")
    with torch.no_grad():
        for name, value in checkpoint["model"].items():
            model.get_parameter(name).copy_(value)
    optimiser = new_optimiser(model)
    optimiser.load_state_dict(checkpoint["optimiser"])
    assert {state["step"].device.type for state in optimiser.state.values()} == {"cpu"}
    one_step(model, optimiser, 2)

    assert {state["step"].device.type for state in optimiser.state.values()} == {"cuda"}
    resumed = weights(model)
    assert [name for name, value in wanted.items() if not torch.equal(value, resumed[name])] == []


def on_cpu(value):
    """Copy to the CPU, since torch.save of a simulated tensor would need its class."""
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: on_cpu(one) for key, one in value.items()}
    return [on_cpu(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("variant", ["align", *sorted(VARIANTS)])
def test_steps_equal_the_cpus_and_the_host_waits_only_to_check_gradients(gpu, backbones, variant):
    """Bit-identical for equal gradients. No wait with ZeRO, which has checked them; otherwise one for all of them."""
    trained = {}
    for device in ("cpu", "cuda"):
        model = new_model(backbones, variant, torch.float32).to(device)
        optimiser = new_optimiser(model)
        for number, present in enumerate(PRESENT):
            draw_gradients(model, number)
            optimiser.set_present(present)
            optimiser.checks_gradients = number == 1
            gpu.waits.clear()
            optimiser.step()
            if device == "cuda" and number:  # the first step builds the runs of each language
                assert len(gpu.waits) == optimiser.checks_gradients, gpu.waits
        trained[device] = weights(model)
    assert [name for name, value in trained["cpu"].items() if not torch.equal(value, trained["cuda"][name])] == []


def draw_gradients(model, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.device)


def test_a_non_finite_gradient_skips_the_step(gpu):
    parameters = [torch.nn.Parameter(torch.ones(3, device="cuda")) for _ in range(2)]
    optimiser = LanguageAdamW([{"params": parameters}], 1e-2, (0.9, 0.95))
    for bad in (0, 1):
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.full((3,), float("nan") if number == bad else 1.0, device="cuda")
        optimiser.step()
        assert optimiser.overflow
        assert all(parameter.tolist() == [1.0, 1.0, 1.0] for parameter in parameters)
