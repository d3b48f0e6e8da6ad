"""The parts of a trained model that can train further, and how the banks of new languages can start.

In: names given by the user, a LoRA variant. Out: checked names; the part that a parameter belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence

from zipperasr.cli import nearest
from zipperasr.lora import variant_class
from zipperasr.lora.base import PER_LANGUAGE
from zipperasr.lora.grow import BANK_STARTS

BANK, ROUTER, PROJECTOR, OWN_PROJECTOR = "bank", "router", "projector", "own_projector"
PARTS = {
    BANK: "the banks of the languages in the training data, and their embeddings if the router learns them",
    ROUTER: "the router, which mixes shared and language-specific columns",
    "shared": "A and B_shared of the encoder's LoRA",
    PROJECTOR: "the projector; in fine-tuning, also the languages' own projectors",
    "llm": "the LLM's LoRA",
    OWN_PROJECTOR: "a projector of its own for each added language, a copy of the shared one at first; not part of all",
}
OF_THE_LANGUAGE = (BANK, OWN_PROJECTOR)  # parts whose training leaves the outputs of other languages unchanged
ALL = "all"


def chosen_parts(variant: str, requested: Sequence[str], new_bank: bool = True) -> tuple[str, ...]:
    """Return the parts to train, in the order of PARTS; `all` selects all parts of the variant but `own_projector`.

    new_bank: languages are added, whose banks must be trained.

    Raises ValueError for a part that is unknown or that the variant does not have.
    """
    layer = variant_class(variant)
    has = {BANK: bool(layer.bank_starts), ROUTER: layer.routed, OWN_PROJECTOR: bool(layer.bank_starts)}
    known = [part for part in PARTS if has.get(part, True)]
    for part in requested:
        if part not in (*PARTS, ALL):
            raise ValueError(f"unknown part for --train_parts {part!r}; {nearest(part, [*PARTS, ALL])}")
        if part not in (*known, ALL):
            raise ValueError(f"--train_parts {part}: {variant} has no {part}; choose from {', '.join([*known, ALL])}")
    if new_bank and has[BANK] and not {BANK, ALL} & set(requested):
        raise ValueError(
            f"--train_parts {' '.join(requested)}: {variant} needs a new bank, which must be trained; add {BANK}"
        )
    if OWN_PROJECTOR in requested:
        _check_own_projector(requested, new_bank)
    whole = ALL in requested
    return tuple(part for part in known if part in requested or (whole and part != OWN_PROJECTOR))


def _check_own_projector(requested: Sequence[str], adds_language: bool) -> None:
    given = f"--train_parts {' '.join(requested)}"
    if not adds_language:
        raise ValueError(
            f"{given}: {OWN_PROJECTOR} is for languages added with --add_lang; fine-tuning trains a language's own "
            f"projector as part of {PROJECTOR}"
        )
    if {PROJECTOR, ALL} & set(requested):
        raise ValueError(
            f"{given}: the added language uses either the shared projector or its own; remove {OWN_PROJECTOR} or "
            f"{PROJECTOR if PROJECTOR in requested else ALL}"
        )


def check_bank_start(variant: str, bank_from: str) -> None:
    """Raises ValueError if `bank_from` is unknown, or not possible for the variant."""
    if bank_from not in BANK_STARTS:
        raise ValueError(f"unknown start for --bank_from {bank_from!r}; {nearest(bank_from, BANK_STARTS)}")
    possible = variant_class(variant).bank_starts
    if possible and bank_from not in possible:
        raise ValueError(
            f"--bank_from {bank_from}: {variant} has no shared bank with the shape of a language's bank; "
            f"choose {' or '.join(possible)}"
        )


def part_of(name: str) -> str:
    """The part (see PARTS) of an adapted model that a trainable parameter belongs to."""
    if name.rpartition(".")[2] in PER_LANGUAGE:
        return BANK
    if name.startswith("adapters.router."):
        return ROUTER
    if name.startswith("projector.own."):
        return OWN_PROJECTOR
    place = name.split(".")[0]
    return place if place in PARTS else "shared"
