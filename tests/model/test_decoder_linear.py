"""Linear layers of decoding: packed and int8 products against the plain ones."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from zipperasr.model.backbones import decoder_linear
from zipperasr.model.backbones.decoder_linear import PACKED_FROM, linear

SHAPE = (PACKED_FROM // 64, 64)  # the smallest weight that is packed


@pytest.fixture(params=[False, True], ids=["without bias", "with bias"])
def layer(request) -> tuple[torch.Tensor, torch.Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SHAPE, generator=generator), torch.randn(SHAPE[0]) if request.param else None


def inputs(rows: int) -> torch.Tensor:
    """Rows of very different sizes."""
    return (
        torch.randn(rows, SHAPE[1], generator=torch.Generator().manual_seed(rows)) * 10.0 ** torch.arange(rows)[:, None]
    )


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("rows", [1, 7])
def test_packed_products_are_the_plain_ones(layer, rows, precision, tolerance):
    weight, bias = (None if one is None else one.to(precision) for one in layer)
    wanted = functional.linear(inputs(rows).to(precision), weight, bias).float()
    found = linear(weight, bias)(inputs(rows).to(precision))
    assert found.dtype == precision
    assert (found.float() - wanted).norm(dim=1).le(tolerance * wanted.norm(dim=1)).all()


def test_small_weights_and_machines_without_onednn_keep_plain_weights(layer, monkeypatch):
    weight, bias = layer
    assert decoder_linear._can_pack(weight) and not decoder_linear._can_pack(weight[:-1])
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not decoder_linear._can_pack(weight)
    assert torch.equal(linear(weight, bias)(inputs(3)), functional.linear(inputs(3), weight, bias))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_vnni", [True, False])
def test_int8_products_are_within_two_percent_and_no_row_changes_another(layer, precision, has_vnni, monkeypatch):
    """The error is that of rounding weights and inputs; sums of integers are exact."""
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: has_vnni)
    weight, bias = (None if one is None else one.to(precision) for one in layer)
    computed, rows = linear(weight, bias, "int8"), inputs(5).to(precision)
    wanted = functional.linear(rows.float(), weight.float(), None if bias is None else bias.float())
    found = computed(rows)
    assert found.dtype == precision
    assert (found.float() - wanted).norm(dim=1).le(0.02 * wanted.norm(dim=1)).all()
    assert torch.equal(torch.cat([computed(row[None]) for row in rows]), found)


def test_int8_products_equal_integer_arithmetic(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    weight = torch.randint(-127, 128, (40, 300)).float()
    weight[:, 0] = 127.0  # scale 1
    rows = torch.randint(-127, 128, (3, 300)).float()
    rows[:, 0] = -127.0
    assert torch.equal(linear(weight, None, "int8")(rows), rows @ weight.T)


def test_int8_of_zeros_is_zero():
    assert not linear(torch.zeros(4, 8), None, "int8")(torch.zeros(2, 8)).any()


def test_int8_on_another_device_is_an_error():
    with pytest.raises(ValueError, match=r"quantize: int8 got an LLM on meta .* needs a CPU .* set quantize=none"):
        linear(torch.zeros(4, 8, device="meta"), None, "int8")


def test_int8_without_onednn_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"quantize: int8 got an LLM on cpu .* oneDNN's int8 products: set quantize"):
        linear(torch.zeros(4, 8), None, "int8")
