"""Models of other tools as training directories of ours.

--peft: an adapter on the encoder's layers becomes the start of a model (docs/export.md says what goes where).
--inspect: the tensors of a foreign checkpoint, and what a key table makes of them; with --out, they are written.
--bundle: a zip of `zipperasr export` is unpacked.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from zipperasr.cli import log, parser, run_step
from zipperasr.exchange.bundle import unpack_bundle
from zipperasr.exchange.fit import STATES, Wanted, assemble, compare
from zipperasr.exchange.foreign import open_checkpoint
from zipperasr.exchange.key_map import DEFAULT, load_key_map, map_names
from zipperasr.exchange.peft_import import SPECIFIC, Adapter, read_adapter, start_from
from zipperasr.exchange.training_dir import adaptation_of, alignment_of, empty_model, write_training
from zipperasr.languages import LanguageTable
from zipperasr.lid.embeddings import MODES, load_embeddings
from zipperasr.lora import VARIANTS, variant_class
from zipperasr.model.experiment import LANGUAGES, Experiment, build_for_training
from zipperasr.model.model_config import REGIMES


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.prog = "zipperasr import"
    what = options.add_mutually_exclusive_group(required=True)
    what.add_argument("--peft", type=Path, default=None, help="a PEFT adapter's directory")
    what.add_argument("--inspect", type=Path, default=None, metavar="CHECKPOINT", help="a foreign file or directory")
    what.add_argument("--bundle", type=Path, default=None, help="a zip of `zipperasr export --format bundle`")
    options.add_argument("--model", type=Path, default=None, help="the alignment's directory; or model.yaml, for one")
    options.add_argument("--lora", default=None, help=f"the variant on the alignment: {', '.join(VARIANTS)}")
    options.add_argument("--out", type=Path, default=None, help="new training directory")
    options.add_argument("--languages", type=Path, default=None, help="language table; default: the alignment's")
    options.add_argument("--seed", type=int, default=1, help="--peft: draws what the adapter does not decide")
    options.add_argument("--lid", type=Path, default=Path("exp/lid"), help="--peft: stage 4's embeddings")
    options.add_argument("--lid_mode", choices=MODES, default="token", help="--peft: which of them")
    options.add_argument("--specific", choices=SPECIFIC, default="copy", help="--peft: what B_spec starts as")
    options.add_argument("--partial", action="store_true", help="--peft: an adapter of some of the layers will do")
    options.add_argument("--rank", type=int, default=None, help="--peft: the model's rank; default: the alignment's")
    options.add_argument("--map", type=Path, default=DEFAULT, help="--inspect: the key table")
    options.add_argument("--regime", choices=REGIMES, default="chunked", help="--inspect with model.yaml: its regime")
    return run_step(_import, options.parse_args(argv), "zipperasr import")


def _import(options: argparse.Namespace) -> None:
    if options.out is not None and options.out.exists():
        raise ValueError(f"{options.out}: there already; remove it or choose another --out")
    if options.inspect is None and options.out is None:
        raise ValueError("--out: missing; name a new training directory")
    if options.bundle is not None:
        unpack_bundle(options.bundle, options.out)
    elif options.peft is not None:
        _import_peft(options)
    else:
        _inspect(options)


def _import_peft(options: argparse.Namespace) -> None:
    if options.model is None or options.lora is None:
        raise ValueError("--peft needs --model DIRECTORY of the alignment (stage 5) and --lora VARIANT")
    adapter = read_adapter(options.peft)
    table = _table(options)
    experiment = _with_rank(adaptation_of(options.model, options.lora, table, options.seed), options.rank, adapter)
    if variant_class(options.lora).routed:
        experiment = replace(experiment, lid=load_embeddings(options.lid, options.lid_mode, table.codes))
    model = build_for_training(experiment, torch.float32, options.seed)
    missing = start_from(model, adapter, options.specific, options.partial)
    write_training(options.out, experiment, model, table, None)
    taken = len(adapter.factors)
    log(f"{options.out}: A and B of {taken} layers from {options.peft}, {len(missing)} layers without an update")
    log(f"{options.out}: {options.lora}; B_spec, where it has one: {options.specific}; a router starts from the seed")


def _with_rank(experiment: Experiment, rank: int | None, adapter: Adapter) -> Experiment:
    """The adapter's own rank and alpha, if its rank is asked for; otherwise it must be the model's."""
    if rank is None:
        ours = experiment.model.encoder_lora.rank
        if ours != adapter.rank:  # said before a model of that rank is built
            raise ValueError(
                f"{adapter.path}: rank {adapter.rank}, but the alignment's model has encoder_lora.rank {ours}; "
                f"--rank {adapter.rank} gives the model the adapter's"
            )
        return experiment
    if rank != adapter.rank:
        raise ValueError(f"--rank {rank}: the adapter's is {adapter.rank}")
    lora = replace(experiment.model.encoder_lora, rank=rank, alpha=float(adapter.alpha))
    return replace(experiment, model=replace(experiment.model, encoder_lora=lora))


def _inspect(options: argparse.Namespace) -> None:
    entries = open_checkpoint(options.inspect)
    targets = map_names(load_key_map(options.map), entries)
    if options.model is None:
        if options.out is not None:
            raise ValueError("--out needs --model: the alignment's directory with --lora, or model.yaml")
        _report(compare(entries, targets))
        log("what is missing shows with --model and, for an adapted model, --lora")
        return
    table = _table(options)
    experiment = _target(options, table)
    model = empty_model(experiment)
    wanted = Wanted(model)
    _report(compare(entries, targets, wanted))
    if options.out is not None:
        write_training(options.out, experiment, model, table, assemble(entries, targets, wanted))
        log(f"{options.out}: {len(wanted.tensors)} tensors")


def _target(options: argparse.Namespace, table: LanguageTable) -> Experiment:
    if options.model.is_dir():
        if options.lora is None:
            raise ValueError(f"--lora: missing; the variant that stands on the alignment {options.model}")
        return adaptation_of(options.model, options.lora, table, options.seed)
    if options.lora is not None:
        raise ValueError(f"--lora stands on an alignment's directory; {options.model} is none")
    return alignment_of(options.model, options.regime, table, options.seed)


def _table(options: argparse.Namespace) -> LanguageTable:
    path = options.languages or options.model / LANGUAGES
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no language table; give --languages conf/languages.tsv")
    return LanguageTable.load(path)


def _report(rows: list) -> None:
    """The rows on stdout, their numbers in the log."""
    print("state\ttensor\tgot\tours\twanted")
    for row in rows:
        print(row)
    counts = Counter(row.state for row in rows)
    log(", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "no tensor")


if __name__ == "__main__":
    sys.exit(main())
