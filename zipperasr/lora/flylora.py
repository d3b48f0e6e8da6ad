"""FlyLoRA: a frozen sparse A, of which each frame uses the ranks that score highest (Eq. 9; Zou et al., 2025)."""

from __future__ import annotations

import torch
from torch import Tensor

from zipperasr.lora.base import LoraLinear


class FlyLora(LoraLinear):
    """Delta W x = (alpha / r) B top_k(A x), the same for all languages; k is 8 of 32 ranks in the paper.

    k / r of A's entries are non-zero, drawn from N(0, 1 / r^2). The k ranks of a frame are those with the largest
    A x + d (signed, not by absolute value). d balances how often each rank is used: after each optimiser step,
    d += u sign(mean load - load) with u = 0.001, where the load of a rank is the number of frames of the global batch
    that used it. The sign rule is one reading: the paper says only that d balances the load, and FlyLoRA's two public
    versions differ. d only affects which ranks are chosen; the values passed on are A x. It is stored as a whole
    number of steps u, so that no precision rounds it.

    The option fly_top_k sets k; None is a quarter of the ranks.

    a: (rank, d_in), a buffer; b_shared: (d_out, rank); bias_steps: (rank,), a buffer.
    """

    mergeable = False
    options = ("fly_top_k",)
    fly_top_k: int | None = None
    bias_step = 0.001  # u

    def create_parameters(self) -> None:
        weight = self.base.weight
        self.top_k = max(1, self.rank // 4) if self.fly_top_k is None else self.fly_top_k
        self.register_buffer("a", _sparse_normal(self.rank, self.base.in_features, self.top_k, weight.device))
        self.register_buffer("bias_steps", torch.zeros(self.rank, dtype=torch.int32, device=weight.device))
        self.register_buffer("load", torch.zeros(self.rank, dtype=torch.int64, device=weight.device), persistent=False)
        self.b_shared = self.new_up()

    def down(self, banks: Tensor) -> Tensor:
        return self.a[None]

    def up(self, banks: Tensor) -> Tensor:
        return self.b_shared[None]

    def select(self, hidden: Tensor) -> Tensor:
        scores = hidden.detach().float() + self.bias_step * self.bias_steps
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, scores.topk(self.top_k).indices, True)
        if self.training:  # recomputed activations count twice, in every rank alike
            self.load += chosen.sum(0, dtype=torch.int64)  # a sum in half precision would round or overflow
        return hidden * chosen

    @torch.no_grad()
    def balance(self, load: Tensor) -> None:
        """Move d by one step, against `load` (rank,): how often each rank was used in the global batch."""
        load = load.double()
        self.bias_steps += torch.sign(load.mean() - load).to(torch.int32)


def _sparse_normal(rank: int, d_in: int, top_k: int, device: torch.device) -> Tensor:
    """(rank, d_in) with top_k / rank of each row non-zero, from N(0, 1 / rank^2)."""
    kept = max(1, round(d_in * top_k / rank))
    positions = torch.rand(rank, d_in, device=device).argsort(-1)[:, :kept]
    values = torch.randn(rank, kept, device=device) / rank
    return torch.zeros(rank, d_in, device=device).scatter_(1, positions, values)
