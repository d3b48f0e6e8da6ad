"""Vanilla LoRA: one A and one B for all languages (Eq. 7)."""

from __future__ import annotations

from torch import Tensor

from zipperasr.lora.base import LoraLinear


class Vanilla(LoraLinear):
    """Delta W = (alpha / r) B A. a: (rank, d_in); b_shared: (d_out, rank)."""

    def create_parameters(self) -> None:
        self.a = self.new_down()
        self.b_shared = self.new_up()

    def down(self, banks: Tensor) -> Tensor:
        return self.a[None]

    def up(self, banks: Tensor) -> Tensor:
        return self.b_shared[None]

    def start_from_plain(self, down: Tensor, up: Tensor, specific: str) -> None:
        self.a.copy_(down)
        self.b_shared.copy_(up)
