"""Zipper-LoRA static: half of B's columns are shared, half are language-specific (Eq. 11)."""

from __future__ import annotations

import torch
from torch import Tensor

from zipperasr.lora.base import LoraLinear, Mixture


class ZipperStatic(LoraLinear):
    """B(l) = [B_shared, B_spec(l)] under one shared A.

    a: (rank, d_in); b_shared: (d_out, rank - rank // 2); b_specific: (languages, d_out, rank // 2).
    """

    bank_starts = ("nearest", "zero")  # not shared: B_shared's columns belong to other rows of A

    def create_parameters(self) -> None:
        specific_rank = self.rank // 2
        self.a = self.new_down()
        self.b_shared = self.new_up(rank=self.rank - specific_rank)
        self.b_specific = self.new_up(self.num_languages, rank=specific_rank)

    def down(self, banks: Tensor) -> Tensor:
        return self.a[None]

    def up(self, banks: Tensor) -> Tensor:
        return torch.cat([self.b_shared.expand(len(banks), -1, -1), self.b_specific[banks]], dim=-1)

    def mixed_delta(self, mixture: Mixture) -> Tensor:
        return self.delta_of_mixed_bank(mixture)

    def start_from_plain(self, down: Tensor, up: Tensor, specific: str) -> None:
        """Use the first columns of the adapter's B as the shared ones."""
        self.a.copy_(down)
        shared, own = up.split([self.b_shared.shape[1], self.b_specific.shape[2]], dim=1)
        self.b_shared.copy_(shared)
        self.b_specific.copy_(own if specific == "copy" else torch.zeros_like(own))
