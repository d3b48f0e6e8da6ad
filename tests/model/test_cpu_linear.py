"""Linear layers by oneDNN: exact against float64, and used only where they are faster."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zipperasr.model import cpu_linear
from zipperasr.model.cpu_linear import OneDnnLinear, use_onednn

needs_operator = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")),
    reason="this PyTorch has no oneDNN",
)


@pytest.fixture
def amd(tmp_path, monkeypatch):
    """A CPU of another maker than Intel, with AVX-512."""
    _set_cpu(monkeypatch, tmp_path, "AuthenticAMD", "AVX512")
    yield
    cpu_linear.is_faster.cache_clear()


def _set_cpu(monkeypatch, directory, vendor: str, capability: str) -> None:
    (directory / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu\n")
    monkeypatch.setattr(cpu_linear, "CPU_INFO", directory / "cpuinfo")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    cpu_linear.is_faster.cache_clear()


def _gradients(layer: nn.Linear, inputs: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    """The output, and the gradients of inputs, weight and bias."""
    outputs = layer(inputs)
    parameters = [p for p in layer.parameters() if p.requires_grad]
    return [outputs, *torch.autograd.grad((outputs * weights).sum(), [inputs, *parameters])]


@needs_operator
@pytest.mark.parametrize("shape", [(7, 24), (2, 3, 24), (1, 24), (300, 24)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("trained", [True, False])
def test_outputs_and_gradients_equal_float64(amd, shape, bias, trained):
    torch.manual_seed(0)
    exact = nn.Linear(24, 40, bias, dtype=torch.float64).requires_grad_(trained)
    layer = nn.Linear(24, 40, bias).requires_grad_(trained)
    layer.load_state_dict(exact.state_dict())
    use_onednn(layer)
    assert type(layer) is OneDnnLinear
    # strided inputs and gradients, as after a transposition
    inputs = torch.randn(*shape[:-1], 48, dtype=torch.float64)[..., ::2].requires_grad_()
    weights = torch.randn(40, *shape[:-1], dtype=torch.float64).movedim(0, -1)
    wanted = _gradients(exact, inputs, weights)
    found = _gradients(layer, inputs.detach().float().requires_grad_(), weights.float())
    assert len(found) == 2 + trained * (1 + bias)
    for mine, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine.double(), want, rtol=1e-5, atol=1e-5)


@needs_operator
def test_names_and_weights_stay_the_same(amd):
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4).bfloat16(), nn.Linear(4, 4, device="meta"))
    before = list(model.state_dict())
    use_onednn(model)
    assert [type(module) for module in model] == [OneDnnLinear, nn.LayerNorm, nn.Linear, nn.Linear]
    assert list(model.state_dict()) == before and isinstance(model[0], nn.Linear)


@needs_operator
def test_other_precisions_are_left_to_pytorch(amd):
    layer, inputs = nn.Linear(8, 8), torch.randn(3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = layer(inputs)
        use_onednn(layer)
        assert layer(inputs).dtype == torch.bfloat16 and torch.equal(layer(inputs), wanted)
    assert layer.double()(inputs.double()).dtype == torch.float64


@pytest.mark.parametrize(("vendor", "capability"), [("GenuineIntel", "AVX512"), ("AuthenticAMD", "AVX2")])
def test_it_is_not_used_where_mkl_is_as_fast(monkeypatch, tmp_path, vendor, capability):
    _set_cpu(monkeypatch, tmp_path, vendor, capability)
    layer = nn.Linear(4, 4)
    use_onednn(layer)
    assert type(layer) is nn.Linear
    cpu_linear.is_faster.cache_clear()
