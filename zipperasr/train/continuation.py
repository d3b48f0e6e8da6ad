"""Trainings that start from a trained model: fine-tuning in languages that it has, or adding languages to it.

What is asked for, its checks, and the resulting Experiment. Variant, regime, sizes and prompts are those of the trained
model; the training configuration is the new one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.lid.stored_embeddings import load_embeddings
from zipperasr.lora import NO_LORA, variant_class
from zipperasr.model.experiment import LANGUAGES, Experiment, located, weights_digest
from zipperasr.model.trained_parts import BANK, OF_THE_LANGUAGE, OWN_PROJECTOR, check_bank_start, chosen_parts


@dataclass(frozen=True)
class Continuation:
    """A training that starts from a trained model.

    Attributes:
        init_from: training directory of that model; None for any other training.
        add_lang: codes of languages to add to it; () to fine-tune it in languages that it has.
        bank_from: initial value of a new bank: "nearest" (the bank of the language with the most similar LID
            embedding), "shared" or "zero".
        train_parts: what is trained, see PARTS in zipperasr/model/trained_parts.py; by default the parts that belong to
            the languages: the bank, and for added languages a projector of their own.
    """

    init_from: Path | None = None
    add_lang: tuple[str, ...] = ()
    bank_from: str = "nearest"
    train_parts: tuple[str, ...] = ()

    def parts(self, variant: str) -> tuple[str, ...]:
        """The parts of a model of this variant to train. Raises ValueError, see `chosen_parts`."""
        default = OF_THE_LANGUAGE if self.add_lang else (BANK,)
        return chosen_parts(variant, self.train_parts or default, new_bank=bool(self.add_lang))


def check_request(new: Continuation, table: LanguageTable) -> Experiment | None:
    """Check the request; return the trained model's Experiment, or None if the training starts from none.

    Raises ValueError, or FileNotFoundError if the trained model is missing.
    """
    if new.init_from is None:
        if new.add_lang:
            raise ValueError(
                f"--add_lang {' '.join(new.add_lang)}: needs --init_from, the directory of a trained model"
            )
        return None
    source = Experiment.load(new.init_from)
    if source.phase != "sft":
        raise ValueError(f"{new.init_from}: got an alignment, wanted the output directory of an adaptation (stage 6)")
    if source.lora == NO_LORA:
        raise ValueError(f"{new.init_from}: has no encoder LoRA to train; wanted a model of another --lora")
    duplicates = sorted({code for code in new.add_lang if new.add_lang.count(code) > 1})
    if duplicates:
        raise ValueError(f"--add_lang: {', '.join(duplicates)} is listed twice")
    for code in new.add_lang:
        table[code]
        if code in source.languages:
            raise ValueError(
                f"{new.init_from}: already supports {code} (it has {', '.join(source.languages)}); "
                "choose another language, or omit --add_lang to fine-tune the model"
            )
    new.parts(source.lora)
    check_bank_start(source.lora, new.bank_from)
    if new.add_lang and new.bank_from == "nearest" and source.model.encoder_lora.learns_embeddings(source.lora):
        raise ValueError(
            f"--bank_from nearest: {new.init_from} learns its language embeddings, and a new language has none; use "
            "--bank_from shared or zero"
        )
    return source


def language_table(new: Continuation, table: LanguageTable) -> LanguageTable:
    """The languages of the training: the recipe's `table`, or those of the trained model if it is fine-tuned."""
    if new.init_from is None or new.add_lang or not (new.init_from / LANGUAGES).is_file():
        return table
    return LanguageTable.load(new.init_from / LANGUAGES)


def continued_experiment(source: Experiment, new: Continuation, *, lid: Path, lid_mode: str, seed: int) -> Experiment:
    """The Experiment that continues from `source`, which `check_request` returned.

    Args:
        lid: directory of stage 4 with embeddings of all languages, old and new.
        lid_mode: which of them, "token" or "state".
    """
    languages = (*source.languages, *new.add_lang)
    variant = variant_class(source.lora)
    parts = new.parts(source.lora)
    bank_from = new.bank_from if new.add_lang and BANK in parts else None
    embeddings = None  # fine-tuning: the trained model's are loaded with its weights
    learned = source.model.encoder_lora.learns_embeddings(source.lora)
    if new.add_lang and ((variant.routed and not learned) or bank_from == "nearest"):
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
    """Log whether the outputs of languages without training data will change."""
    shared = [part for part in experiment.trained if part not in OF_THE_LANGUAGE]
    new = ", ".join(experiment.added)
    if not new:
        effect = "will change" if shared else "stay bit-identical"
        log(
            f"fine-tuning {', '.join(experiment.trained)} of {experiment.init_from}; the outputs of languages without "
            f"training data {effect}"
        )
    elif shared:
        log(f"{new}: also training {', '.join(shared)}; the outputs of the other languages will change")
    else:
        own = " and the new projector" if OWN_PROJECTOR in experiment.trained else ""
        log(f"{new}: training only the new bank{own}; the outputs of the other languages stay bit-identical")
