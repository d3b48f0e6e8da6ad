"""The contract of LoRA variants: every variant in the registry must pass these tests."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tests.lora import reference
from tests.lora.toy import ALPHA, CODES, D_IN, D_OUT, RANK, adapted_toy, factors, own_parameters, shares
from zipperasr.lora import VARIANTS

pytestmark = pytest.mark.parametrize("variant", sorted(VARIANTS))


def dense_linear(variant, adapters, layer, x, code):
    """W0 x + b + Delta W(l) x, from the paper's equation."""
    frozen = functional.linear(x, layer.base.weight, layer.base.bias).detach()
    if variant == "flylora":
        return frozen + reference.flylora(x, factors(layer), ALPHA / RANK)
    bank = adapters.bank(code)
    delta = reference.UPDATES[variant](factors(layer), bank, shares(adapters, layer, bank), ALPHA / RANK)
    return frozen + x @ delta.T


def dense_forward(variant, toy, adapters, x, code):
    """Output of the toy model in one language, from the paper's equations."""
    hidden = dense_linear(variant, adapters, toy.first, x, code)
    return dense_linear(variant, adapters, toy.second, functional.gelu(hidden), code)


def test_update_starts_at_zero(variant):
    toy, adapters = adapted_toy(variant, trained=False)
    adapters.set_batch(["es"], [3])
    x = torch.randn(3, D_IN, dtype=torch.float64)
    assert torch.equal(toy.first(x), toy.first.base(x))
    assert any(factor.any() for factor in factors(toy.first).values()), "A must not be zero: B would get no gradient"


def test_update_follows_the_papers_equation_in_every_language(variant):
    toy, adapters = adapted_toy(variant)
    x = torch.randn(4, D_IN, dtype=torch.float64)
    for code in CODES:
        adapters.set_batch([code], [4])
        torch.testing.assert_close(toy(x), dense_forward(variant, toy, adapters, x, code), rtol=1e-6, atol=1e-6)


def test_mixed_batch_equals_each_language_alone(variant):
    toy, adapters = adapted_toy(variant)
    x = torch.randn(5, 3, D_IN, dtype=torch.float64)  # utterances of equal length
    codes = ["de", "es", "es", "ja", "de"]
    adapters.set_batch(codes, [3] * 5)
    alone = torch.stack([dense_forward(variant, toy, adapters, row, code) for row, code in zip(x, codes, strict=True)])
    torch.testing.assert_close(toy(x), alone, rtol=1e-6, atol=1e-6)


def test_ragged_batch_equals_each_language_alone(variant):
    toy, adapters = adapted_toy(variant)
    lengths, codes = [2, 1, 4], ["ja", "de", "es"]
    x = torch.randn(sum(lengths), D_IN, dtype=torch.float64)
    adapters.set_batch(codes, lengths)
    alone = [
        dense_forward(variant, toy, adapters, rows, code) for rows, code in zip(x.split(lengths), codes, strict=True)
    ]
    torch.testing.assert_close(toy(x), torch.cat(alone), rtol=1e-6, atol=1e-6)


def test_gradients_match_finite_differences(variant):
    toy, adapters = adapted_toy(variant)
    adapters.set_batch(["de", "ja"], [1, 2])
    leaves = list(own_parameters(toy).values())
    if VARIANTS[variant].routed:  # p is float32; here it is a float64 leaf, and test_router checks its own gradient
        p = torch.rand(2, len(CODES), RANK, dtype=torch.float64)
        adapters._rows.specific_share = p.requires_grad_(variant != "zipper_hard")  # a step function has no derivative
        leaves += [p] if p.requires_grad else []
    x = torch.randn(3, D_IN, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: toy(x), (x, *leaves), atol=1e-6)


def test_bank_of_an_absent_language_gets_exactly_zero_gradient(variant):
    toy, adapters = adapted_toy(variant)
    adapters.set_batch(["de", "es"], [2, 2])
    toy(torch.randn(4, D_IN, dtype=torch.float64)).square().sum().backward()
    banks = {name: p for name, p in own_parameters(toy).items() if name.endswith("_specific")}
    for name, parameter in banks.items():
        assert not parameter.grad[adapters.bank("ja")].any(), name
        assert parameter.grad[adapters.bank("de")].any(), name
        assert parameter.grad[adapters.bank("es")].any(), name
    assert banks or variant in ("vanilla", "flylora")


def test_merged_weight_gives_the_same_output(variant):
    toy, adapters = adapted_toy(variant)
    adapters.set_batch(["es"], [4])
    if toy.first.unmergeable is not None:
        with pytest.raises(ValueError, match="cannot be merged: it selects its ranks per frame"):
            toy.first.delta_weight(1)
        return
    x = torch.randn(4, D_IN, dtype=torch.float64)
    merged = toy.first.base.weight + toy.first.delta_weight(adapters.bank("es"))
    torch.testing.assert_close(functional.linear(x, merged, toy.first.base.bias), toy.first(x))


def test_bfloat16_autocast_is_close_and_gives_gradients(variant):
    toy, adapters = adapted_toy(variant)
    toy.float()
    adapters.set_batch(["de", "es"], [8, 8])
    x = torch.randn(16, D_IN)
    exact = toy(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = toy(x)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() < 0.03 * exact.norm()
    rounded.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in own_parameters(toy).values())


def test_gradient_checkpointing_changes_no_gradient(variant):
    gradients = []
    for checkpointed in (False, True):
        toy, adapters = adapted_toy(variant)
        adapters.set_batch(["de", "ja"], [2, 3])
        x = torch.linspace(-1, 1, 5 * D_IN, dtype=torch.float64).view(
            5, D_IN
        )  # the encoder is frozen, so x needs no gradient
        out = checkpoint(toy, x, use_reentrant=False) if checkpointed else toy(x)
        out.square().sum().backward()
        trained = {**own_parameters(toy), **dict(adapters.named_parameters())}
        gradients.append({name: parameter.grad for name, parameter in trained.items()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradient.any(), name
        assert torch.equal(gradient, gradients[1][name]), name


def test_compiles_without_a_graph_break(variant):
    toy, adapters = adapted_toy(variant)
    adapters.set_batch(["de", "es"], [2, 1])
    x = torch.randn(3, D_IN, dtype=torch.float64)
    compiled = torch.compile(toy.first, backend="aot_eager", fullgraph=True)  # everything except C++ code generation
    torch.testing.assert_close(compiled(x), toy.first(x))


def test_wrapped_layer_is_frozen_and_the_update_is_trained(variant):
    toy, _ = adapted_toy(variant)
    assert not any(parameter.requires_grad for parameter in toy.first.base.parameters())
    assert all(parameter.requires_grad for parameter in own_parameters(toy).values())
    assert toy.first.base.weight.shape == (D_OUT, D_IN)
