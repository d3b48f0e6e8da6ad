"""Add languages to an adapted model, and choose which parts train.

In: a model after the adaptation, codes, LID embeddings, the start of the new banks. Out: the model with more banks,
frozen except for the chosen parts. By default only the new banks train; then only they are saved, and the outputs of
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
    ROUTER: "what decides the mix of shared and own columns",
    "shared": "A and B_shared of the encoder's LoRA",
    "projector": "from the encoder to the LLM",
    "llm": "the LLM's LoRA",
}
ALL = "all"


def chosen_parts(variant: str, asked: Sequence[str]) -> tuple[str, ...]:
    """The parts that train, in the order of PARTS; `all` is all that the variant has. Raises ValueError."""
    layer = variant_class(variant)
    has = {BANK: bool(layer.bank_starts), ROUTER: layer.routed}
    known = [part for part in PARTS if has.get(part, True)]
    for part in asked:
        if part not in (*PARTS, ALL):
            raise ValueError(f"unknown part for --train_parts {part!r}; {nearest(part, [*PARTS, ALL])}")
        if part not in (*known, ALL):
            raise ValueError(
                f"{variant} has no {part}: there a new language trains what all share; "
                f"choose from {', '.join([*known, ALL])} by --train_parts"
            )
    if has[BANK] and not {BANK, ALL} & set(asked):
        raise ValueError(f"--train_parts {' '.join(asked)}: {variant} gets a new bank, which must train; add {BANK}")
    return tuple(part for part in known if part in asked or ALL in asked)


def check_bank_start(variant: str, bank_from: str) -> None:
    """Raises ValueError for a start that is unknown, or that the variant's banks cannot take."""
    if bank_from not in BANK_STARTS:
        raise ValueError(f"unknown start for --bank_from {bank_from!r}; {nearest(bank_from, BANK_STARTS)}")
    possible = variant_class(variant).bank_starts
    if possible and bank_from not in possible:
        raise ValueError(
            f"{variant} has no shared bank of a language bank's form; choose --bank_from {' or '.join(possible)}"
        )


def grow(model: SpeechLLM, codes: Sequence[str], embeddings: Tensor | None, parts: Sequence[str]) -> None:
    """Add the languages, their B zero, and freeze all but `parts`. embeddings: (len(codes), d_lid) for a router."""
    add_languages(model.adapters, codes, embeddings)
    set_trainable(model, "sft")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and part_of(name) in parts)


def start_banks(model: SpeechLLM, bank_from: str, lid: Tensor | None) -> None:
    """Let each new bank start from one that is trained. lid: (languages, d_lid) of all, for `nearest`."""
    adapters = model.adapters
    if bank_from == "zero":
        return
    old = [code for code in trained_languages(adapters) if code not in adapters.own_codes]
    for code in adapters.own_codes:
        source = None
        if bank_from == "nearest":
            of = dict(zip(adapters.language_codes, lid, strict=True))
            source, cosine = nearest_language(of[code], {other: of[other] for other in old})
            _log_once(f"{code}: its bank starts from that of {source}, the LID-nearest (cosine {cosine:.3f})")
        start_bank(adapters, code, source)


def part_of(name: str) -> str:
    """The part (see PARTS) that a trainable parameter of an SFT model belongs to."""
    if name.rpartition(".")[2] in BANK_NAMES:
        return BANK
    if name.startswith("adapters.router."):
        return ROUTER
    place = name.split(".")[0]
    return place if place in PARTS else "shared"


@torch.no_grad()
def check_embeddings(model: SpeechLLM, stage_4: Tensor, where: str) -> None:
    """The trained model keeps the LID embeddings it has; say if stage 4 now finds others for the same languages.

    stage_4: (languages, d_lid) of the model's languages before any was added. Raises ValueError if they are of another
    kind altogether, which a new language's embedding would then be too.
    """
    known = model.adapters.router.embeddings.to(stage_4)
    if known.shape == stage_4.shape and torch.equal(known, stage_4):
        return
    same_kind = known.shape == stage_4.shape and torch.allclose(known, stage_4, rtol=1e-3, atol=1e-3)
    if not same_kind:
        raise ValueError(
            f"{where}: stage 4 has other LID embeddings than the model was trained with; give its --lid_mode, and run "
            "stage 4 with its Whisper model (state: with its languages' data too)"
        )
    difference = (known - stage_4).abs().max().item()
    _log_once(f"{where}: stage 4's LID embeddings differ from the model's by up to {difference:.1e}; it keeps its own")


def _log_once(message: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # all ranks build the same model
        log(message)
