"""LoRA variants by name, in the order of the paper's tables. A new variant needs one file and one entry here."""

from __future__ import annotations

from zipperasr.cli import nearest
from zipperasr.lora.base import LoraLinear, Options
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

NO_LORA = "none"  # instead of a variant: the adaptation leaves the encoder as it is (a control, not in the paper)
LORA_CHOICES = (*VARIANTS, NO_LORA)


def check_lora(name: str) -> None:
    """Raises ValueError that suggests the nearest name unless `name` is a variant or NO_LORA."""
    choices = [*VARIANTS, NO_LORA]  # a variant may have been added since LORA_CHOICES was made
    if name not in choices:
        raise ValueError(f"unknown lora {name!r}; {nearest(name, choices)}")


def is_routed(lora: str) -> bool:
    """True if `lora`, one of LORA_CHOICES, has a router, which needs language embeddings."""
    return lora != NO_LORA and variant_class(lora).routed


def variant_class(name: str) -> type[LoraLinear]:
    """Return the class of the variant `name`. Raises ValueError that suggests the nearest name."""
    if name not in VARIANTS:
        raise ValueError(f"unknown lora {name!r}; {nearest(name, list(VARIANTS))}")
    return VARIANTS[name]


def default_options() -> dict[str, Options]:
    """The default options of every variant that has any, by variant."""
    return {name: cls.options_class() for name, cls in VARIANTS.items() if cls.options_class is not Options}
