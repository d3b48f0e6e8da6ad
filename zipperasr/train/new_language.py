"""A new language for a trained system: stage 6's options become an Experiment, or one line that says why not.

In: --init_from, --add_lang, --bank_from, --train_parts, the language table, stage 4's embeddings. Out: the Experiment
of the larger system. What the model is (variant, regime, sizes) is the trained system's; how it trains is the
configuration's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.lid.embeddings import load_embeddings
from zipperasr.lora import variant_class
from zipperasr.model.experiment import Experiment, located, weights_digest
from zipperasr.model.new_language import BANK, PARTS, check_bank_start, chosen_parts
from zipperasr.train.train_config import TrainConfig


def add_options(options: argparse.ArgumentParser) -> None:
    """What a new language is told by, alike in preflight and in training."""
    options.add_argument("--init_from", type=Path, default=None, help="trained system that languages are added to")
    options.add_argument("--add_lang", nargs="*", default=[], metavar="CODE", help="the languages to add")
    options.add_argument(
        "--bank_from", default="nearest", help="start of a new bank: the LID-nearest language's bank, shared or zero"
    )
    options.add_argument(
        "--train_parts", nargs="+", default=[BANK], help=f"what trains then: {', '.join(PARTS)}; all is all of them"
    )


def check_request(options: argparse.Namespace, table: LanguageTable) -> Experiment | None:
    """The trained system, or None where no language is to be added. Raises for a request that cannot be met."""
    if bool(options.add_lang) != (options.init_from is not None):
        raise ValueError("--add_lang CODE and --init_from DIRECTORY of a trained system belong together")
    if options.init_from is None:
        return None
    source = Experiment.load(options.init_from)
    if source.phase != "sft":
        raise ValueError(f"{options.init_from}: an alignment, wanted a system that stage 6 has adapted")
    twice = sorted({code for code in options.add_lang if options.add_lang.count(code) > 1})
    if twice:
        raise ValueError(f"--add_lang: {', '.join(twice)} stands there twice")
    for code in options.add_lang:
        table[code]
        if code in source.languages:
            raise ValueError(
                f"{options.init_from}: {code} is a language of it already ({', '.join(source.languages)}); "
                "name a new one, or train the system itself by stage 6"
            )
    chosen_parts(source.lora, options.train_parts)
    check_bank_start(source.lora, options.bank_from)
    return source


def extended(options: argparse.Namespace, table: LanguageTable, config: TrainConfig) -> Experiment | None:
    """The Experiment of a training that adds languages, or None. Raises ValueError or FileNotFoundError."""
    source = check_request(options, table)
    if source is None:
        return None
    for name in ("model", "regime", "lora", "init", "initial_b"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name}: the system of --init_from has its own; leave it out")
    if options.phase != source.phase:
        raise ValueError(f"--phase {options.phase}: a language is added by --phase {source.phase}")
    if config.absent_language != "hold":
        raise ValueError(
            f"absent_language: {config.absent_language} would move the banks of all other languages; set it to hold"
        )
    languages = (*source.languages, *options.add_lang)
    variant, parts = variant_class(source.lora), chosen_parts(source.lora, options.train_parts)
    bank_from = options.bank_from if BANK in parts else None
    lid = None
    if variant.routed or bank_from == "nearest":
        lid = load_embeddings(options.lid, options.lid_mode, list(languages))
    return replace(
        source,
        model=located(source, options.init_from).model,
        init=None,
        initial_b=None,
        initial_parts=(),
        languages=languages,
        seed=options.seed,
        init_from=str(options.init_from),
        init_from_weights=weights_digest(options.init_from),
        added=tuple(options.add_lang),
        bank_from=bank_from,
        trained=parts,
        lid=lid,
    )


def announce(experiment: Experiment) -> None:
    """One line: what becomes of the other languages."""
    shared = [part for part in experiment.trained if part != BANK]
    new = ", ".join(experiment.added)
    if shared:
        log(f"{new}: {', '.join(shared)} train too: the outputs of the other languages will change")
    else:
        log(f"{new}: all but the new bank is frozen: the outputs of the other languages stay as they are")


def of_languages(rows: Sequence, added: Sequence[str], where: Path) -> list:
    """The lines of sets.tsv in the languages to add; all, where none is. Raises ValueError if one has no train set."""
    if not added:
        return list(rows)
    for code in added:
        if not any(row.language == code and row.kind == "train" for row in rows):
            raise ValueError(
                f"{where}: no train set of phase sft in {code}; write its line in conf/datasets.tsv, "
                "then run stages 1 to 3"
            )
    return [row for row in rows if row.language in added]
