"""LanguageAdamW against torch's AdamW, in float64."""

from __future__ import annotations

import copy

import pytest
import torch

from zipperasr.train.optim import LanguageAdamW

LANGUAGES, SHAPE, STEPS, BETAS = 3, (4, 5), 25, (0.9, 0.95)


def presences() -> list[list[int]]:
    """Languages of each step's global batch: one is rare, one appears late, none is in every batch."""
    generator = torch.Generator().manual_seed(3)
    drawn = [[0, 1]] + [torch.nonzero(torch.rand(3, generator=generator) < 0.5).flatten().tolist() for _ in range(24)]
    return [[language for language in step if language != 2 or number > 10] for number, step in enumerate(drawn)]


def gradient(step: int, present: list[int]) -> torch.Tensor:
    """(languages, *SHAPE), exactly zero for absent languages."""
    drawn = torch.randn(LANGUAGES, *SHAPE, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    return drawn * torch.tensor([float(language in present) for language in range(LANGUAGES)])[:, None, None]


def start() -> torch.Tensor:
    return torch.randn(LANGUAGES, *SHAPE, generator=torch.Generator().manual_seed(99), dtype=torch.float64)


def learning_rate(step: int) -> float:
    return 1e-2 * (1 + step % 7)


def ours(hold: bool, pieces: int = 1, reload_at: int | None = None) -> torch.Tensor:
    """The bank after all steps. pieces: number of flat, padded partitions, as in ZeRO."""
    flat = start().flatten()
    size = -(-len(flat) // pieces) + (1 if pieces > 1 else 0)
    padding = size * pieces - len(flat)
    languages = torch.arange(LANGUAGES).repeat_interleave(20)
    languages = torch.cat([languages, languages.new_zeros(padding)])
    flat = torch.cat([flat, flat.new_zeros(padding)])
    parts = [torch.nn.Parameter(part.clone()) for part in flat.split(size)]
    optimiser = new_optimiser(parts, hold, languages, size)
    for step, present in enumerate(presences()):
        if step == reload_at:
            state = copy.deepcopy(optimiser.state_dict())
            optimiser = new_optimiser(parts, hold, languages, size)
            optimiser.load_state_dict(state)
        optimiser.param_groups[0]["lr"] = learning_rate(step)
        optimiser.set_present(present)
        padded = torch.cat([gradient(step, present).flatten(), flat.new_zeros(padding)])
        for parameter, part in zip(parts, padded.split(size), strict=True):
            parameter.grad = part.clone()
        optimiser.step()
    return torch.cat([part.detach() for part in parts])[: LANGUAGES * 20].view(LANGUAGES, *SHAPE)


def new_optimiser(parts, hold, languages, size) -> LanguageAdamW:
    optimiser = LanguageAdamW([{"params": parts, "weight_decay": 0.1}], 1e-2, BETAS, LANGUAGES, hold)
    optimiser.bank_of_element = dict(zip(parts, languages.split(size), strict=True))
    return optimiser


def torchs_adamw(hold: bool) -> torch.Tensor:
    """hold: one parameter per language, whose grad is None if it is absent; otherwise the stacked parameter."""
    banks = [torch.nn.Parameter(bank.clone()) for bank in start()] if hold else [torch.nn.Parameter(start())]
    optimiser = torch.optim.AdamW(banks, lr=1e-2, betas=BETAS, weight_decay=0.1)
    for step, present in enumerate(presences()):
        optimiser.param_groups[0]["lr"] = learning_rate(step)
        full = gradient(step, present)
        if hold:
            for language, bank in enumerate(banks):
                bank.grad = full[language].clone() if language in present else None
        else:
            banks[0].grad = full
        optimiser.step()
    return torch.stack([bank.detach() for bank in banks]) if hold else banks[0].detach()


@pytest.mark.parametrize("pieces", [1, 2, 7])
@pytest.mark.parametrize("hold", [True, False])
def test_equals_torchs_adamw(hold, pieces):
    torch.testing.assert_close(ours(hold, pieces), torchs_adamw(hold), rtol=0, atol=1e-12)


def test_hold_and_dense_differ():
    assert (torchs_adamw(True) - torchs_adamw(False)).abs().max() > 0.01


@pytest.mark.parametrize("pieces", [1, 2])
def test_resumes_from_its_saved_state(pieces):
    torch.testing.assert_close(ours(True, pieces, reload_at=12), ours(True, pieces), rtol=0, atol=1e-12)


def test_bank_moments_and_steps_of_an_absent_language_are_not_updated():
    bank = torch.nn.Parameter(start())
    optimiser = LanguageAdamW([{"params": [bank], "weight_decay": 0.1}], 1e-2, BETAS, LANGUAGES)
    optimiser.bank_of_element = {bank: torch.arange(LANGUAGES).repeat_interleave(20)}
    for present in ([0, 1, 2], [0]):
        before = bank.detach().clone()
        optimiser.set_present(present)
        bank.grad = gradient(1, present)
        moments = {key: value.clone() for key, value in optimiser.state[bank].items()}
        optimiser.step()
    assert not torch.equal(bank[0], before[0])
    assert torch.equal(bank[1:], before[1:])
    for key in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(optimiser.state[bank][key][1:], moments[key][1:])
    assert optimiser.state[bank]["step"].tolist() == [2, 1, 1]


def test_other_parameters_are_updated_as_by_adamw_in_every_step():
    parameters = [torch.nn.Parameter(start()) for _ in range(2)]
    mine = LanguageAdamW([{"params": parameters[:1], "weight_decay": 0.1}], 1e-2, BETAS, LANGUAGES)
    theirs = torch.optim.AdamW(parameters[1:], lr=1e-2, betas=BETAS, weight_decay=0.1)
    for step, present in enumerate(presences()):
        mine.set_present(present)
        for parameter, optimiser in zip(parameters, (mine, theirs), strict=True):
            parameter.grad = gradient(step, [0, 1, 2])
            optimiser.step()
    torch.testing.assert_close(parameters[0], parameters[1], rtol=0, atol=1e-12)


def test_a_parameter_without_gradient_is_not_updated():
    bank = torch.nn.Parameter(start())
    optimiser = LanguageAdamW([{"params": [bank], "weight_decay": 0.1}], 1e-2, BETAS, LANGUAGES)
    optimiser.step()
    assert torch.equal(bank, start())


def test_a_checkpoint_with_step_counts_in_float64_is_continued():
    """Checkpoints had such counts before the update was torch's fused kernel."""
    bank = torch.nn.Parameter(start())
    optimiser = LanguageAdamW([{"params": [bank], "weight_decay": 0.1}], 1e-2, BETAS, LANGUAGES)
    optimiser.bank_of_element = {bank: torch.arange(LANGUAGES).repeat_interleave(20)}
    bank.grad = gradient(0, [0, 1, 2])
    optimiser.step()
    state = optimiser.state_dict()
    state["state"][0]["step"] = state["state"][0]["step"].double()
    optimiser.load_state_dict(state)
    optimiser.step()
    assert optimiser.state[bank]["step"].tolist() == [2, 2, 2]
    assert optimiser.state[bank]["step"].dtype == torch.float32
