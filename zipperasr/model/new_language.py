"""Add languages to an adapted model.

In: a model after the adaptation, language codes, LID embeddings, how to initialise the new banks. Out: the model with
more banks and, on request, more projectors, frozen except for the chosen parts. If only the new languages' own parts
are trained and saved, the outputs for all other languages stay bit-identical.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zipperasr.lora.grow import add_languages, nearest_language, start_bank, trained_languages
from zipperasr.model.build import set_trainable
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.model.trained_parts import OWN_PROJECTOR, PROJECTOR, part_of
from zipperasr.ranks import log_once  # all ranks build the same model


def grow(model: SpeechLLM, codes: Sequence[str], embeddings: Tensor | None, parts: Sequence[str]) -> None:
    """Add languages with zero B, and freeze all but `parts`. embeddings: (len(codes), d_lid), for a router.

    Projectors of languages that were added earlier are frozen.
    """
    add_languages(model.adapters, codes, embeddings)
    train_only(model, parts)
    model.projector.own.requires_grad_(False)
    if OWN_PROJECTOR in parts:
        for code in codes:
            model.projector.add_own(code)
            model.projector.of(code).requires_grad_(True)


def tune(model: SpeechLLM, parts: Sequence[str]) -> None:
    """Prepare a trained model for fine-tuning: freeze all but `parts`; all languages' banks are saved."""
    model.adapters.own_codes = model.adapters.language_codes
    train_only(model, (*parts, OWN_PROJECTOR) if PROJECTOR in parts else parts)


def train_only(model: SpeechLLM, parts: Sequence[str]) -> None:
    """Freeze all but `parts` of an adapted model."""
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
            log_once(f"{code}: bank initialised from {source}, the nearest LID embedding (cosine {cosine:.3f})")
        start_bank(adapters, code, source)


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
    log_once(f"{where}: stage 4's LID embeddings differ by up to {difference:.1e} from the model's, which are kept")
