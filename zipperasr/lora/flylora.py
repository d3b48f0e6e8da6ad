"""FlyLoRA: a frozen sparse A; every frame uses the k ranks with the highest score (Eq. 9; Zou et al., 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, distributed

from zipperasr.lora.base import LoraLinear, Options


@dataclass(frozen=True)
class FlyLoraOptions(Options):
    """Options of FlyLoRA."""

    top_k: int | None = field(
        default=None, metadata={"meaning": "ranks used per frame; null: a quarter of the ranks (8 of 32 in the paper)"}
    )

    old_keys: ClassVar[dict[str, str]] = {"fly_top_k": "top_k"}

    def check_rank(self, rank: int) -> None:
        if self.top_k is not None and not 1 <= self.top_k <= rank:
            raise ValueError(f"top_k: got {self.top_k}, wanted 1 to {rank} (the rank)")


class FlyLora(LoraLinear):
    """Delta W x = (alpha / r) B top_k(A x), the same for all languages; k is 8 of 32 ranks in the paper.

    k / r of A's entries are non-zero, drawn from N(0, 1 / r^2). The k ranks of a frame are those with the largest
    A x + d (signed, not by absolute value). d balances how often each rank is used: after each optimiser step,
    d += u sign(mean load - load) with u = 0.001, where the load of a rank is the number of frames of the global batch
    that used it. The sign rule is our interpretation: the paper says only that d balances the load, and the two public
    versions of FlyLoRA differ. d only affects which ranks are chosen, not the values A x. It is stored as an integer
    number of steps u, so that no precision rounds it.

    a: (rank, d_in), a buffer; b_shared: (d_out, rank); bias_steps: (rank,), a buffer.
    """

    options_class = FlyLoraOptions
    options: FlyLoraOptions
    unmergeable = "it selects its ranks per frame (top-k of A x), so no single weight equals it"
    saved_buffers = ("a", "bias_steps")
    bias_step = 0.001  # u

    def create_parameters(self) -> None:
        weight = self.base.weight
        self.top_k = max(1, self.rank // 4) if self.options.top_k is None else self.options.top_k
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
        if self.training:  # recomputed activations are counted twice, for all ranks alike
            self.load += chosen.sum(0, dtype=torch.int64)  # a sum in half precision would round or overflow
        return hidden * chosen

    @classmethod
    def check_plain_start(cls, specific: str) -> None:
        raise ValueError(
            "flylora has its own sparse, frozen A and cannot be initialised from a PEFT adapter; use another variant"
        )

    @classmethod
    @torch.no_grad()
    def after_step(cls, layers: Sequence[FlyLora]) -> None:
        """Update every layer's d by one step, from the load summed over all processes."""
        loads = torch.stack([layer.load for layer in layers])
        if distributed.is_initialized():
            distributed.all_reduce(loads)
        for layer, load in zip(layers, loads.double(), strict=True):
            layer.bias_steps += torch.sign(load.mean() - load).to(torch.int32)
            layer.load.zero_()


def _sparse_normal(rank: int, d_in: int, top_k: int, device: torch.device) -> Tensor:
    """(rank, d_in) with top_k / rank of each row non-zero, from N(0, 1 / rank^2)."""
    kept = max(1, round(d_in * top_k / rank))
    positions = torch.rand(rank, d_in, device=device).argsort(-1)[:, :kept]
    values = torch.randn(rank, kept, device=device) / rank
    return torch.zeros(rank, d_in, device=device).scatter_(1, positions, values)
