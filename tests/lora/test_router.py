"""The router compared with its equation (Eq. 16-18), and its precision."""

from __future__ import annotations

import json

import torch

from tests.lora import reference
from tests.lora.toy import CODES, D_LID, RANK, adapted_toy
from zipperasr.lora.router import Router


def random_router(layers: int = 3) -> Router:
    torch.manual_seed(1)
    router = Router(torch.randn(len(CODES), D_LID) * 3 + 1, layers, RANK)
    with torch.no_grad():
        router.weight.normal_()
        router.bias.normal_()
    return router


def expected(router: Router) -> torch.Tensor:
    layers = zip(router.weight.detach(), router.bias.detach(), strict=True)
    return torch.stack([torch.stack([reference.router(e, w, b) for e in router.embeddings]) for w, b in layers])


def test_follows_the_papers_equation():
    router = random_router()
    torch.testing.assert_close(router().double(), expected(router), rtol=1e-5, atol=1e-6)


def test_stays_in_float32_under_bfloat16_autocast():
    router = random_router()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        p = router()
    assert p.dtype == torch.float32
    assert torch.equal(p, router())


def test_computes_in_float32_from_bfloat16_parameters():
    router = random_router()
    router.weight.data, router.bias.data = router.weight.data.bfloat16(), router.bias.data.bfloat16()
    assert router().dtype == torch.float32
    torch.testing.assert_close(router().double(), expected(router), rtol=1e-5, atol=1e-6)


def test_gradients_follow_the_equation():
    router = random_router()
    loss = (router() * torch.linspace(-1, 1, 3 * len(CODES) * RANK).view(3, len(CODES), RANK)).sum()
    loss.backward()
    weight, bias = (p.detach().double().requires_grad_() for p in (router.weight, router.bias))
    layers = zip(weight, bias, strict=True)
    p = torch.stack([torch.stack([reference.router(e, w, b) for e in router.embeddings]) for w, b in layers])
    (p * torch.linspace(-1, 1, p.numel()).double().view_as(p)).sum().backward()
    torch.testing.assert_close(router.weight.grad.double(), weight.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(router.bias.grad.double(), bias.grad, rtol=1e-4, atol=1e-5)


def test_starts_near_one_half_and_differs_between_languages():
    torch.manual_seed(0)
    p = Router(torch.randn(len(CODES), 64), num_layers=2, rank=32)().detach()
    assert (p - 0.5).abs().max() < 0.25
    assert not torch.equal(p[:, 0], p[:, 1])


def test_embeddings_are_fixed():
    router = random_router()
    assert "embeddings" not in dict(router.named_parameters())
    assert "embeddings" in dict(router.named_buffers())


def test_description_lists_languages_and_layers():
    _, adapters = adapted_toy("zipper_soft")
    described = json.loads(adapters.describe_router())
    assert described["languages"] == list(CODES)
    assert described["layers"] == ["first", "second"]
    torch.testing.assert_close(torch.tensor(described["p"]), adapters.specific_shares(), rtol=0, atol=1e-5)


def test_a_variant_without_router_has_no_p():
    _, adapters = adapted_toy("vanilla")
    assert adapters.specific_shares() is None
