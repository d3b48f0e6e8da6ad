"""Zipper-LoRA hard: every column of B is either the shared or the language's own (Eq. 12, 13)."""

from __future__ import annotations

from torch import Tensor

from zipperasr.lora.zipper_soft import ZipperSoft


class ZipperHard(ZipperSoft):
    """B(l) takes column i from B_shared where s_i = [p_i >= tau] is 1, else from B_spec(l).

    The paper is of two minds about p: in Eq. 13 and its drawing a high p selects the *shared* column, in Eq. 14
    (soft) p is the share of the *specific* one. We follow each equation. The option p_selects_shared = False reads p
    as the specific share here too, which a warm start of the router from a soft run needs. Gradients pass the
    threshold straight through: ds/dp = 1.

    a: (rank, d_in); b_shared: (d_out, rank); b_specific: (languages, d_out, rank); p: (rank,) from the router.
    """

    options = ("tau", "p_selects_shared")
    tau = 0.5  # not in the paper
    p_selects_shared = True

    def specific_share(self, banks: Tensor) -> Tensor:
        """1 where the column is the language's own, else 0: with it the mixture of Eq. 14 becomes Eq. 13's choice."""
        p = super().specific_share(banks)
        s = (p >= self.tau).to(p.dtype) + (p - p.detach())  # in this order s is exactly 0 or 1
        return 1 - s if self.p_selects_shared else s
