"""Adding languages to a trained model: what is asked for, its checks, and the resulting Experiment.

Variant, regime and sizes are those of the trained model; the training configuration is the new one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.lid.stored_embeddings import load_embeddings
from zipperasr.lora import NO_LORA, variant_class
from zipperasr.model.experiment import Experiment, located, weights_digest
from zipperasr.model.trained_parts import BANK, check_bank_start, chosen_parts


@dataclass(frozen=True)
class NewLanguages:
    """Languages to add to a trained model.

    Attributes:
        init_from: training directory of that model; None if no language is added.
        add_lang: their codes.
        bank_from: initial value of a new bank: "nearest" (the bank of the language with the most similar LID
            embedding), "shared" or "zero".
        train_parts: what is trained; see PARTS in zipperasr/model/trained_parts.py.
    """

    init_from: Path | None = None
    add_lang: tuple[str, ...] = ()
    bank_from: str = "nearest"
    train_parts: tuple[str, ...] = (BANK,)


def check_request(new: NewLanguages, table: LanguageTable) -> Experiment | None:
    """Check the request; return the trained model's Experiment, or None if no language is added.

    Raises ValueError, or FileNotFoundError if the trained model is missing.
    """
    if bool(new.add_lang) != (new.init_from is not None):
        raise ValueError("--add_lang CODE and --init_from DIRECTORY of a trained model must be given together")
    if new.init_from is None:
        return None
    source = Experiment.load(new.init_from)
    if source.phase != "sft":
        raise ValueError(f"{new.init_from}: got an alignment, wanted the output directory of an adaptation (stage 6)")
    if source.lora == NO_LORA:
        raise ValueError(f"{new.init_from}: has no encoder LoRA to add languages to; wanted a model of another --lora")
    duplicates = sorted({code for code in new.add_lang if new.add_lang.count(code) > 1})
    if duplicates:
        raise ValueError(f"--add_lang: {', '.join(duplicates)} is listed twice")
    for code in new.add_lang:
        table[code]
        if code in source.languages:
            raise ValueError(
                f"{new.init_from}: already supports {code} (it has {', '.join(source.languages)}); "
                "choose another language, or retrain the model with stage 6"
            )
    chosen_parts(source.lora, new.train_parts)
    check_bank_start(source.lora, new.bank_from)
    return source


def extended_experiment(source: Experiment, new: NewLanguages, *, lid: Path, lid_mode: str, seed: int) -> Experiment:
    """The Experiment that adds `new.add_lang` to `source`, which `check_request` returned.

    Args:
        lid: directory of stage 4 with embeddings of all languages, old and new.
        lid_mode: which of them, "token" or "state".
    """
    languages = (*source.languages, *new.add_lang)
    variant, parts = variant_class(source.lora), chosen_parts(source.lora, new.train_parts)
    bank_from = new.bank_from if BANK in parts else None
    embeddings = None
    if variant.routed or bank_from == "nearest":
        embeddings = load_embeddings(lid, lid_mode, list(languages))
    return replace(
        source,
        model=located(source, new.init_from).model,
        init=None,
        initial_b=None,
        initial_parts=(),
        languages=languages,
        seed=seed,
        init_from=str(new.init_from),
        init_from_weights=weights_digest(new.init_from),
        added=new.add_lang,
        bank_from=bank_from,
        trained=parts,
        lid=embeddings,
    )


def announce(experiment: Experiment) -> None:
    """Log whether the outputs of the other languages will change."""
    shared = [part for part in experiment.trained if part != BANK]
    new = ", ".join(experiment.added)
    if shared:
        log(f"{new}: also training {', '.join(shared)}; the outputs of the other languages will change")
    else:
        log(f"{new}: training only the new bank; the outputs of the other languages stay bit-identical")
