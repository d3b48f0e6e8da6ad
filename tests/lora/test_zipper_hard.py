"""Hard selection: the column that p selects, in both interpretations, and the straight-through gradient."""

from __future__ import annotations

import pytest
import torch

from tests.lora.toy import ALPHA, CODES, D_IN, RANK, adapted_toy, factors
from zipperasr.lora.zipper_hard import ZipperHardOptions


def hard_layer(p_selects_shared: bool):
    """The first layer of the toy model with p as a float64 leaf: (layers, languages, rank)."""
    toy, adapters = adapted_toy("zipper_hard")
    adapters.set_batch(["de", "ja"], [2, 3])
    toy.first.options = ZipperHardOptions(p_selects_shared=p_selects_shared)
    p = torch.rand(2, len(CODES), RANK, dtype=torch.float64)
    p[0, 0, 0] = 0.5  # exactly tau
    toy.first.languages.specific_share = p.requires_grad_()
    return toy.first, p


@pytest.mark.parametrize("p_selects_shared", [True, False])
def test_a_column_is_either_shared_or_specific(p_selects_shared):
    layer, p = hard_layer(p_selects_shared)
    up = layer.up(torch.tensor([0, 2])).detach()
    tensors = factors(layer)
    for row, bank in enumerate((0, 2)):
        for i in range(RANK):
            high = bool(p[0, bank, i] >= 0.5)
            shared = high if p_selects_shared else not high
            source = tensors["b_shared"] if shared else tensors["b_specific"][bank]
            torch.testing.assert_close(up[row][:, i], source[:, i])


@pytest.mark.parametrize("p_selects_shared", [True, False])
def test_gradient_passes_the_threshold_straight_through(p_selects_shared):
    """dL/dp_i = dL/ds_i, and s_i weighs b_shared - b_specific (or the reverse)."""
    layer, p = hard_layer(p_selects_shared)
    x = torch.randn(5, D_IN, dtype=torch.float64)
    upstream = torch.randn(5, layer.base.out_features, dtype=torch.float64)
    (layer(x) * upstream).sum().backward()
    tensors = factors(layer)
    expected = torch.zeros_like(p)
    for bank, rows in ((0, slice(0, 2)), (2, slice(2, 5))):
        difference = tensors["b_shared"] - tensors["b_specific"][bank]
        hidden = x[rows] @ tensors["a"].T  # (rows, rank)
        by_column = ((upstream[rows] @ difference) * hidden).sum(0) * ALPHA / RANK
        expected[0, bank] = by_column if p_selects_shared else -by_column
    torch.testing.assert_close(p.grad, expected)
