"""Add languages to an adapted model, and choose which parts train.

In: a model after the adaptation, language codes, LID embeddings, how to initialise the new banks. Out: the model with
more banks, frozen except for the chosen parts. By default only the new banks are trained and saved, and the outputs for
all other languages stay bit-identical.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from zipperasr.cli import log, nearest
from zipperasr.lora import variant_class
from zipperasr.lora.base import BANK_NAMES
from zipperasr.lora.grow import BANK_STARTS, add_languages, nearest_language, start_bank, trained_languages
from zipperasr.model.build import set_trainable
from zipperasr.model.speech_llm import SpeechLLM

BANK, ROUTER = "bank", "router"
PARTS = {
    BANK: "the new language's own bank",
    ROUTER: "the router, which mixes shared and language-specific columns",
    "shared": "A and B_shared of the encoder's LoRA",
    "projector": "the projector",
    "llm": "the LLM's LoRA",
}
ALL = "all"


def chosen_parts(variant: str, requested: Sequence[str]) -> tuple[str, ...]:
    """Return the parts to train, in the order of PARTS; `all` selects all parts of the variant.

    Raises ValueError for a part that is unknown or that the variant does not have.
    """
    layer = variant_class(variant)
    has = {BANK: bool(layer.bank_starts), ROUTER: layer.routed}
    known = [part for part in PARTS if has.get(part, True)]
    for part in requested:
        if part not in (*PARTS, ALL):
            raise ValueError(f"unknown part for --train_parts {part!r}; {nearest(part, [*PARTS, ALL])}")
        if part not in (*known, ALL):
            raise ValueError(f"--train_parts {part}: {variant} has no {part}; choose from {', '.join([*known, ALL])}")
    if has[BANK] and not {BANK, ALL} & set(requested):
        raise ValueError(
            f"--train_parts {' '.join(requested)}: {variant} needs a new bank, which must be trained; add {BANK}"
        )
    return tuple(part for part in known if part in requested or ALL in requested)


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


def grow(model: SpeechLLM, codes: Sequence[str], embeddings: Tensor | None, parts: Sequence[str]) -> None:
    """Add languages with zero B, and freeze all but `parts`. embeddings: (len(codes), d_lid), for a router."""
    add_languages(model.adapters, codes, embeddings)
    set_trainable(model, "sft")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and part_of(name) in parts)


def start_banks(model: SpeechLLM, bank_from: str, lid: Tensor | None) -> None:
    """Initialise each new bank from a trained one. lid: (languages, d_lid) of all languages, for `nearest`."""
    adapters = model.adapters
    if bank_from == "zero":
        return
    old = [code for code in trained_languages(adapters) if code not in adapters.own_codes]
    for code in adapters.own_codes:
        source = None
        if bank_from == "nearest":
            of = dict(zip(adapters.language_codes, lid, strict=True))
            source, cosine = nearest_language(of[code], {other: of[other] for other in old})
            _log_once(f"{code}: bank initialised from {source}, the nearest LID embedding (cosine {cosine:.3f})")
        start_bank(adapters, code, source)


def part_of(name: str) -> str:
    """The part (see PARTS) of an adapted model that a trainable parameter belongs to."""
    if name.rpartition(".")[2] in BANK_NAMES:
        return BANK
    if name.startswith("adapters.router."):
        return ROUTER
    place = name.split(".")[0]
    return place if place in PARTS else "shared"


@torch.no_grad()
def check_embeddings(model: SpeechLLM, stage_4: Tensor, where: str) -> None:
    """Compare stage 4's LID embeddings with those of the trained model, which keeps its own.

    stage_4: (languages, d_lid), without the added languages. Raises ValueError if they are clearly different: the
    embeddings of the added languages would then not be comparable with the model's.
    """
    known = model.adapters.router.embeddings.to(stage_4)
    if known.shape == stage_4.shape and torch.equal(known, stage_4):
        return
    same_kind = known.shape == stage_4.shape and torch.allclose(known, stage_4, rtol=1e-3, atol=1e-3)
    if not same_kind:
        raise ValueError(
            f"{where}: stage 4's LID embeddings are not those of the model's training; use the same --lid_mode, "
            "and run stage 4 with the same Whisper model (mode state: also with the same languages' data)"
        )
    difference = (known - stage_4).abs().max().item()
    _log_once(f"{where}: stage 4's LID embeddings differ by up to {difference:.1e} from the model's, which are kept")


def _log_once(message: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # all ranks build the same model
        log(message)
