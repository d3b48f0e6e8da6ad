"""Zipper-LoRA hard: every column of B is either the shared or the language-specific one (Eq. 12, 13)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from zipperasr.lora.router import RouterOptions
from zipperasr.lora.zipper_soft import ZipperSoft
from zipperasr.ranges import SHARE, check_ranges


@dataclass(frozen=True)
class ZipperHardOptions(RouterOptions):
    """Options of Zipper-LoRA hard."""

    tau: float = field(default=0.5, metadata={"meaning": "threshold of the router's p"})  # not in the paper
    p_selects_shared: bool = field(
        default=True, metadata={"meaning": "columns with p >= tau are shared (Eq. 13); false: language-specific"}
    )

    old_keys: ClassVar[dict[str, str]] = {
        **RouterOptions.old_keys,
        "tau": "tau",
        "p_selects_shared": "p_selects_shared",
    }
    share_hint: ClassVar[str] = "set encoder_lora.zipper_hard.p_selects_shared: false in model.yaml"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, {"tau": SHARE})

    @property
    def share_is_specific(self) -> bool:
        return not self.p_selects_shared

    def specific_share(self, p: Tensor) -> Tensor:
        """1 for language-specific columns, 0 for shared ones."""
        return ((p >= self.tau) != self.p_selects_shared).float()


class ZipperHard(ZipperSoft):
    """B(l) takes column i from B_shared where s_i = [p_i >= tau] is 1, else from B_spec(l).

    The paper is inconsistent about p: in Eq. 13 and its figure a high p selects the *shared* column, in Eq. 14 (soft) p
    is the share of the *specific* one. Each variant follows its own equation. With p_selects_shared = False, p is the
    specific share here too, as required when the router is initialised from a soft model. The threshold has a
    straight-through gradient: ds/dp = 1.

    a: (rank, d_in); b_shared: (d_out, rank); b_specific: (languages, d_out, rank); p: (rank,) from the router.
    """

    options_class = ZipperHardOptions
    options: ZipperHardOptions

    def specific_share(self, banks: Tensor) -> Tensor:
        """1 for language-specific columns, else 0, which turns the mixture of Eq. 14 into the selection of Eq. 13."""
        p = super().specific_share(banks)
        s = (p >= self.options.tau).to(p.dtype) + (p - p.detach())  # in this order s is exactly 0 or 1
        return 1 - s if self.options.p_selects_shared else s
