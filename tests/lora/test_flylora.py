"""FlyLoRA: the sparse frozen A, and the bias that balances the load by affecting only the selection of ranks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.lora import reference
from tests.lora.toy import ALPHA, D_IN, RANK, adapted_toy, factors
from zipperasr.lora.flylora import FlyLoraOptions
from zipperasr.lora.injection import inject
from zipperasr.model.model_config import EncoderLoraConfig


def test_a_quarter_of_a_is_drawn_from_the_papers_normal_and_the_rest_is_zero():
    torch.manual_seed(0)
    model = nn.ModuleDict({"x": nn.Linear(1280, 4)})
    inject(model, "flylora", ["x"], ["de"], rank=32, alpha=64.0)
    a = model["x"].a
    assert (a != 0).sum(1).tolist() == [320] * 32
    torch.testing.assert_close(a[a != 0].std().item(), 1 / 32, rtol=0.03, atol=0)
    assert "a" not in dict(model["x"].named_parameters())


def test_the_bias_affects_the_selection_but_not_the_values():
    toy, _ = adapted_toy("flylora")
    hidden = torch.tensor([[0.3, -0.9, 0.2, 0.1]], dtype=torch.float64)
    toy.first.bias_steps.zero_()
    assert toy.first.select(hidden).tolist() == [[0.3, 0, 0, 0]]
    toy.first.bias_steps[1] = 1300  # d = 1.3: -0.9 + 1.3 is the largest
    assert toy.first.select(hidden).tolist() == [[0, -0.9, 0, 0]]


def test_the_bias_balances_the_load():
    torch.manual_seed(0)
    model = nn.ModuleDict({"x": nn.Linear(64, 8)}).train()
    adapters = inject(model, "flylora", ["x"], ["de"], rank=16, alpha=32.0)
    x = (
        torch.randn(512, 64) * 0.1 + torch.randn(64) * 0.2
    )  # a common direction, so that the same ranks always score highest
    adapters.set_batch(["de"], [512])
    shares = []
    for _ in range(600):
        model["x"](x)
        load = model["x"].load.double()
        shares.append(load / load.sum())
        adapters.after_step()
    assert shares[0].max() > 3 / 16 and shares[0].min() < 0.2 / 16
    assert shares[-1].max() < 1.3 / 16 and shares[-1].min() > 0.7 / 16
    assert not model["x"].load.any()


def test_the_load_is_counted_in_training_only():
    toy, adapters = adapted_toy("flylora")
    adapters.set_batch(["de"], [3])
    toy.eval()
    toy(torch.randn(3, D_IN, dtype=torch.float64))
    assert not toy.first.load.any()
    toy.train()
    toy(torch.randn(3, D_IN, dtype=torch.float64))
    assert toy.first.load.sum() == 3 * toy.first.top_k


def test_the_bias_is_exact_in_half_precision():
    toy, _ = adapted_toy("flylora")
    toy.first.bias_steps.fill_(4096)
    toy.bfloat16()
    toy.first.load.copy_(torch.tensor([3, 1, 2, 2]))
    type(toy.first).after_step([toy.first])
    assert toy.first.bias_steps.tolist() == [4095, 4097, 4096, 4096]


@pytest.mark.parametrize(("dtype", "rows"), [(torch.bfloat16, 300), (torch.float16, 66_000), (torch.float32, 66_000)])
def test_the_load_is_exact_in_every_precision(dtype, rows):
    """bfloat16 cannot represent 257, and float16 nothing above 65504."""
    toy, adapters = adapted_toy("flylora")
    toy.train()
    adapters.set_batch(["de"], [rows + 1])
    toy.first.bias_steps.copy_(
        torch.arange(RANK) * 1000
    )  # d dominates, so that the last ranks are selected in every row
    toy.first.select((torch.randn(rows + 1, RANK) * 0.1).to(dtype))
    assert toy.first.load.tolist() == [0] * (RANK - 1) + [rows + 1]


def test_top_k_sets_the_number_of_ranks_and_the_sparsity_of_a():
    torch.manual_seed(0)
    model = nn.ModuleDict({"x": nn.Linear(64, 8)})
    inject(model, "flylora", ["x"], ["de"], rank=16, alpha=32.0, options=FlyLoraOptions(top_k=6))
    assert (model["x"].a != 0).sum(1).tolist() == [24] * 16  # 6 / 16 of 64
    assert (model["x"].select(torch.randn(9, 16)) != 0).sum(1).tolist() == [6] * 9


def test_top_k_of_a_quarter_is_the_default():
    toy, adapters = adapted_toy("flylora")
    adapters.set_batch(["de"], [5])
    x = torch.randn(5, D_IN, dtype=torch.float64)
    assert toy.first.options.top_k is None and toy.first.top_k == RANK // 4
    base = nn.functional.linear(x, toy.first.base.weight, toy.first.base.bias)
    torch.testing.assert_close(toy.first(x) - base, reference.flylora(x, factors(toy.first), ALPHA / RANK))


@pytest.mark.parametrize("top_k", [0, 33, -1])
def test_top_k_outside_the_rank_is_an_error(top_k):
    message = rf"top_k: got {top_k}, wanted 1 to 32 \(the rank\)"
    with pytest.raises(ValueError, match=f"^flylora: {message}"):
        EncoderLoraConfig(options={"flylora": FlyLoraOptions(top_k)})
    with pytest.raises(ValueError, match=f"^{message}"):
        inject(nn.ModuleDict({"x": nn.Linear(64, 8)}), "flylora", ["x"], ["de"], options=FlyLoraOptions(top_k))
