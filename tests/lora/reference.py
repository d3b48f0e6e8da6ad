"""The paper's updates, computed column by column in float64 from its equations without using the package.

Input: a layer's factors by name, the index of the language, its p. Output: Delta W(l) = (alpha / r) B(l) A(l), of shape
(d_out, d_in).
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
    """Eq. 11: the first half of A's rows uses the shared columns, the second half the language-specific ones."""
    half = factors["a"].shape[0] // 2
    shared = _outer_sum(factors["b_shared"], factors["a"][:half])
    return scaling * (shared + _outer_sum(factors["b_specific"][language], factors["a"][half:]))


def zipper_hard(factors: Mapping[str, Tensor], language: int, p: Tensor | None, scaling: float) -> Tensor:
    """Eq. 12, 13 with tau = 0.5: s_i = 1 selects the shared column."""
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


def flylora(x: Tensor, factors: Mapping[str, Tensor], scaling: float) -> Tensor:
    """Eq. 9 for frames x (n, d_in): the sum over the r / 4 ranks with the largest a_i x + d_i; d = 0.001 bias_steps."""
    a, b, bias = factors["a"].double(), factors["b_shared"].double(), factors["bias_steps"].double() * 0.001
    updates = []
    for frame in x.double():
        answers = [(a[i] @ frame).item() for i in range(len(a))]
        ranked = sorted(range(len(a)), key=lambda i: answers[i] + bias[i].item(), reverse=True)
        updates.append(scaling * sum(answers[i] * b[:, i] for i in ranked[: len(a) // 4]))
    return torch.stack(updates)


def router(embedding: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Eq. 16-18 for one language and one layer. embedding: (d,); weight: (rank, d); bias: (rank,)."""
    centred = embedding.double() - embedding.double().mean()
    normed = centred / torch.sqrt(centred.square().mean() + 1e-5)
    return torch.stack(
        [1 / (1 + torch.exp(-(row @ normed + b))) for row, b in zip(weight.double(), bias.double(), strict=True)]
    )


def _outer_sum(columns: Tensor, rows: Tensor) -> Tensor:
    """B A as a sum of rank-1 matrices."""
    return sum(torch.outer(columns[:, i].double(), rows[i].double()) for i in range(rows.shape[0]))


UPDATES = {  # flylora has no Delta W: its update depends on the frame
    "vanilla": vanilla,
    "independent": independent,
    "zipper_static": zipper_static,
    "zipper_hard": zipper_hard,
    "zipper_soft": zipper_soft,
}
