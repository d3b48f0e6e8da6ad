"""The paper's updates, written out column by column in float64 from its equations; nothing of the package is used.

In: a layer's factors by name, the language's number, its p. Out: Delta W(l) = (alpha / r) B(l) A(l): (d_out, d_in).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def vanilla(factors: Mapping[str, Tensor], language: int, p: Tensor | None, scaling: float) -> Tensor:
    """Eq. 7."""
    return scaling * _outer_sum(factors["b_shared"], factors["a"])


def independent(factors: Mapping[str, Tensor], language: int, p: Tensor | None, scaling: float) -> Tensor:
    """Eq. 8."""
    return scaling * _outer_sum(factors["b_specific"][language], factors["a_specific"][language])


def zipper_static(factors: Mapping[str, Tensor], language: int, p: Tensor | None, scaling: float) -> Tensor:
    """Eq. 11: the first half of A's rows meets the shared columns, the second half the language's own."""
    half = factors["a"].shape[0] // 2
    shared = _outer_sum(factors["b_shared"], factors["a"][:half])
    return scaling * (shared + _outer_sum(factors["b_specific"][language], factors["a"][half:]))


def zipper_hard(factors: Mapping[str, Tensor], language: int, p: Tensor | None, scaling: float) -> Tensor:
    """Eq. 12, 13 with tau = 0.5: s_i = 1 takes the shared column."""
    columns = [
        factors["b_shared"][:, i] if p[i] >= 0.5 else factors["b_specific"][language][:, i] for i in range(len(p))
    ]
    return scaling * _outer_sum(torch.stack(columns, 1), factors["a"])


def zipper_soft(factors: Mapping[str, Tensor], language: int, p: Tensor | None, scaling: float) -> Tensor:
    """Eq. 14, 15."""
    columns = [
        (1 - p[i]) * factors["b_shared"][:, i] + p[i] * factors["b_specific"][language][:, i] for i in range(len(p))
    ]
    return scaling * _outer_sum(torch.stack(columns, 1), factors["a"])


def router(embedding: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Eq. 16-18 for one language and one layer. embedding: (d,); weight: (rank, d); bias: (rank,)."""
    centred = embedding.double() - embedding.double().mean()
    normed = centred / torch.sqrt(centred.square().mean() + 1e-5)
    return torch.stack(
        [1 / (1 + torch.exp(-(row @ normed + b))) for row, b in zip(weight.double(), bias.double(), strict=True)]
    )


def _outer_sum(columns: Tensor, rows: Tensor) -> Tensor:
    """B A as a sum of rank-one matrices."""
    return sum(torch.outer(columns[:, i].double(), rows[i].double()) for i in range(rows.shape[0]))


UPDATES = {
    "vanilla": vanilla,
    "independent": independent,
    "zipper_static": zipper_static,
    "zipper_hard": zipper_hard,
    "zipper_soft": zipper_soft,
}
