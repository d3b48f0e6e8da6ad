"""Zipper-LoRA soft: every column of B is a mixture of a shared and a language-specific one (Eq. 14, 15)."""

from __future__ import annotations

import torch
from torch import Tensor

from zipperasr.lora.base import LoraLinear, Mixture
from zipperasr.lora.router import RouterOptions


class ZipperSoft(LoraLinear):
    """B(l) = B_shared diag(1 - p(l)) + B_spec(l) diag(p(l)): p is the share of the *specific* column.

    a: (rank, d_in); b_shared: (d_out, rank); b_specific: (languages, d_out, rank); p: (rank,) from the router.
    """

    options_class = RouterOptions
    routed = True
    bank_starts = ("nearest", "shared", "zero")
    initial_b_sources = ("zipper_soft",)

    def create_parameters(self) -> None:
        self.a = self.new_down()
        self.b_shared = self.new_up()
        self.b_specific = self.new_up(self.num_languages)

    def down(self, banks: Tensor) -> Tensor:
        return self.a[None]

    def up(self, banks: Tensor) -> Tensor:
        p = self.specific_share(banks)
        return self.b_shared * (1 - p) + self.b_specific[banks] * p

    def mixed_delta(self, mixture: Mixture) -> Tensor:
        return self.delta_of_mixed_bank(mixture)

    def start_from_plain(self, down: Tensor, up: Tensor, specific: str) -> None:
        self.a.copy_(down)
        self.b_shared.copy_(up)
        self.b_specific.copy_(up if specific == "copy" else torch.zeros_like(up))
