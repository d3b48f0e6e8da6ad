"""Every variant on a CUDA device: the same results as on the CPU, and similar ones in bfloat16."""

from __future__ import annotations

import pytest
import torch

from tests.lora.toy import D_IN, adapted_toy, own_parameters
from zipperasr.lora import VARIANTS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.parametrize("variant", sorted(VARIANTS)),
]
BATCH = (["de", "es", "es", "ja", "de"], [3] * 5)


def forward_and_gradients(variant: str, device: str, dtype: torch.dtype = torch.float64):
    """Return output and gradients of a mixed batch, moved to the CPU in float64."""
    toy, adapters = adapted_toy(variant)
    toy.to(device, dtype)
    adapters.to(device)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(5, 3, D_IN, dtype=torch.float64, generator=generator).to(device, dtype)
    adapters.set_batch(*BATCH)
    y = toy(x)
    y.square().sum().backward()
    return y.detach().double().cpu(), {name: p.grad.double().cpu() for name, p in own_parameters(toy).items()}


def test_output_and_gradients_equal_those_of_the_cpu(variant):
    (y, gradients), (wanted, wanted_gradients) = (forward_and_gradients(variant, where) for where in ("cuda", "cpu"))
    torch.testing.assert_close(y, wanted, rtol=1e-6, atol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted_gradients[name], rtol=1e-6, atol=1e-6)


def test_bfloat16_is_close(variant):
    if variant == "flylora":
        pytest.skip("bfloat16 may select other ranks for a frame, so that outputs are not comparable")
    (y, _), (wanted, _) = (
        forward_and_gradients(variant, "cuda", torch.bfloat16),
        forward_and_gradients(variant, "cpu"),
    )
    assert torch.nn.functional.cosine_similarity(y.flatten(), wanted.flatten(), dim=0) > 0.99
