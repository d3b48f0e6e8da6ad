"""LoRA variants by name, in the order of the paper's tables. A new variant is one file and one line here."""

from __future__ import annotations

from zipperasr.cli import nearest
from zipperasr.lora.base import LoraLinear
from zipperasr.lora.flylora import FlyLora
from zipperasr.lora.independent import Independent
from zipperasr.lora.vanilla import Vanilla
from zipperasr.lora.zipper_hard import ZipperHard
from zipperasr.lora.zipper_soft import ZipperSoft
from zipperasr.lora.zipper_static import ZipperStatic

VARIANTS: dict[str, type[LoraLinear]] = {
    "vanilla": Vanilla,
    "independent": Independent,
    "flylora": FlyLora,
    "zipper_static": ZipperStatic,
    "zipper_hard": ZipperHard,
    "zipper_soft": ZipperSoft,
}


def variant_class(name: str) -> type[LoraLinear]:
    """The variant called `name`. Raises ValueError naming the nearest known."""
    if name not in VARIANTS:
        raise ValueError(f"unknown lora {name!r}; {nearest(name, list(VARIANTS))}")
    return VARIANTS[name]
