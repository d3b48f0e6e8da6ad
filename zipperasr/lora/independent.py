"""Independent LoRA: one A and one B per language, nothing shared (Eq. 8)."""

from __future__ import annotations

from torch import Tensor

from zipperasr.lora.base import LoraLinear


class Independent(LoraLinear):
    """Delta W(l) = (alpha / r) B(l) A(l). a: (languages, rank, d_in); b_specific: (languages, d_out, rank).

    The banks are one stacked parameter. With one parameter per language, data-parallel ranks with different languages
    in their batches would reduce gradients of different parameters together.
    """

    bank_starts = ("nearest", "zero")

    def create_parameters(self) -> None:
        self.a_specific = self.new_down(self.num_languages)
        self.b_specific = self.new_up(self.num_languages)

    def down(self, banks: Tensor) -> Tensor:
        return self.a_specific[banks]

    def up(self, banks: Tensor) -> Tensor:
        return self.b_specific[banks]

    @classmethod
    def check_plain_start(cls, specific: str) -> None:
        if specific == "zero":
            raise ValueError("independent has no shared bank, so --specific zero discards the adapter; use copy")

    def start_from_plain(self, down: Tensor, up: Tensor, specific: str) -> None:
        self.a_specific.copy_(down)
        self.b_specific.copy_(up)
