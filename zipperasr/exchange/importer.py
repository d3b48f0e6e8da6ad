"""Import models of other tools as training directories.

--peft: initialise a model from a PEFT adapter of the encoder (docs/export.md lists the mapping of tensors).
--inspect: list the tensors of another tool's checkpoint and their mapping by a key table; with --out, import them.
--bundle: unpack a zip written by `zipperasr export`.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from zipperasr.audio.segments import REGIMES
from zipperasr.cli import log, parser, run_step
from zipperasr.exchange.bundle import unpack_bundle
from zipperasr.exchange.fit import STATES, Wanted, assemble, compare
from zipperasr.exchange.foreign import open_checkpoint
from zipperasr.exchange.key_map import DEFAULT, load_key_map, map_names
from zipperasr.exchange.peft_import import SPECIFIC, Adapter, read_adapter, start_from
from zipperasr.exchange.training_dir import adaptation_of, alignment_of, empty_model, write_training
from zipperasr.languages import LanguageTable
from zipperasr.lid.stored_embeddings import MODES, load_embeddings
from zipperasr.lora import VARIANTS, variant_class
from zipperasr.model.experiment import LANGUAGES, Experiment
from zipperasr.model.experiment_model import build_for_training


@dataclass(frozen=True)
class ImportJob:
    """One call of `zipperasr import`; the options are described in `main`."""

    peft: Path | None
    inspect: Path | None
    bundle: Path | None
    model: Path | None
    lora: str | None
    out: Path | None
    languages: Path | None
    seed: int
    lid: Path
    lid_mode: str
    specific: str
    partial: bool
    rank: int | None
    map: Path
    regime: str


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.prog = "zipperasr import"
    what = options.add_mutually_exclusive_group(required=True)
    what.add_argument("--peft", type=Path, default=None, help="directory of a PEFT adapter")
    what.add_argument(
        "--inspect", type=Path, default=None, metavar="CHECKPOINT", help="checkpoint of another tool: file or directory"
    )
    what.add_argument("--bundle", type=Path, default=None, help="zip written by `zipperasr export --format bundle`")
    options.add_argument(
        "--model", type=Path, default=None, help="directory of the alignment; or model.yaml, to import an alignment"
    )
    options.add_argument("--lora", default=None, help=f"LoRA variant of the encoder: {', '.join(VARIANTS)}")
    options.add_argument("--out", type=Path, default=None, help="new training directory")
    options.add_argument("--languages", type=Path, default=None, help="language table; default: the alignment's")
    options.add_argument("--seed", type=int, default=1, help="--peft: random seed for all other parameters")
    options.add_argument("--lid", type=Path, default=Path("exp/lid"), help="--peft: language embeddings of stage 4")
    options.add_argument("--lid_mode", choices=MODES, default="token", help="--peft: kind of language embeddings")
    options.add_argument("--specific", choices=SPECIFIC, default="copy", help="--peft: initial value of B_spec")
    options.add_argument("--partial", action="store_true", help="--peft: accept an adapter of some layers only")
    options.add_argument(
        "--rank", type=int, default=None, help="--peft: LoRA rank, with the adapter's alpha; default: the alignment's"
    )
    options.add_argument("--map", type=Path, default=DEFAULT, help="--inspect: key table")
    options.add_argument("--regime", choices=REGIMES, default="chunked", help="--inspect, model.yaml: encoder regime")
    return run_step(import_model, ImportJob(**vars(options.parse_args(argv))), "zipperasr import")


def import_model(job: ImportJob) -> None:
    """Import, or inspect. Raises FileNotFoundError or ValueError."""
    if job.out is not None and job.out.exists():
        raise ValueError(f"{job.out} already exists; remove it or choose another --out")
    if job.inspect is None and job.out is None:
        raise ValueError("--out is required; give a new training directory")
    if job.bundle is not None:
        unpack_bundle(job.bundle, job.out)
    elif job.peft is not None:
        _import_peft(job)
    else:
        _inspect(job)


def _import_peft(job: ImportJob) -> None:
    if job.model is None or job.lora is None:
        raise ValueError("--peft needs --model DIRECTORY of the alignment (stage 5) and --lora VARIANT")
    adapter = read_adapter(job.peft)
    table = _table(job)
    experiment = _with_rank(adaptation_of(job.model, job.lora, table, job.seed), job.rank, adapter)
    if variant_class(job.lora).routed:
        experiment = replace(experiment, lid=load_embeddings(job.lid, job.lid_mode, table.codes))
    model = build_for_training(experiment, torch.float32, job.seed)
    missing = start_from(model, adapter, job.specific, job.partial)
    write_training(job.out, experiment, model, table, None)
    taken = len(adapter.factors)
    log(f"{job.out}: copied A and B of {taken} layers from {job.peft}; {len(missing)} layers have no update")
    log(f"{job.out}: {job.lora}, B_spec (if any): {job.specific}, router (if any): initialised at random")


def _with_rank(experiment: Experiment, rank: int | None, adapter: Adapter) -> Experiment:
    """Use the adapter's rank and alpha if --rank is given; otherwise the adapter must have the model's rank."""
    if rank is None:
        ours = experiment.model.encoder_lora.rank
        if ours != adapter.rank:  # checked before a model of that rank is built
            raise ValueError(
                f"{adapter.path}: got rank {adapter.rank}, wanted {ours}, the alignment's encoder_lora.rank; "
                f"use --rank {adapter.rank} for a model with the adapter's rank"
            )
        return experiment
    if rank != adapter.rank:
        raise ValueError(f"--rank {rank}: the adapter has rank {adapter.rank}; use that")
    lora = replace(experiment.model.encoder_lora, rank=rank, alpha=float(adapter.alpha))
    return replace(experiment, model=replace(experiment.model, encoder_lora=lora))


def _inspect(job: ImportJob) -> None:
    entries = open_checkpoint(job.inspect)
    targets = map_names(load_key_map(job.map), entries)
    if job.model is None:
        if job.out is not None:
            raise ValueError("--out needs --model: the directory of an alignment, with --lora, or model.yaml")
        _report(compare(entries, targets))
        log("to list missing tensors too, give --model and, for an adapted model, --lora")
        return
    table = _table(job)
    experiment = _target(job, table)
    model = empty_model(experiment)
    wanted = Wanted(model)
    _report(compare(entries, targets, wanted))
    if job.out is not None:
        write_training(job.out, experiment, model, table, assemble(entries, targets, wanted))
        log(f"{job.out}: {len(wanted.tensors)} tensors")


def _target(job: ImportJob, table: LanguageTable) -> Experiment:
    if job.model.is_dir():
        if job.lora is None:
            raise ValueError(f"--lora is required; give the LoRA variant to add to the alignment {job.model}")
        return adaptation_of(job.model, job.lora, table, job.seed)
    if job.lora is not None:
        raise ValueError(f"--lora needs --model with the output directory of stage 5; {job.model} is not one")
    return alignment_of(job.model, job.regime, table, job.seed)


def _table(job: ImportJob) -> LanguageTable:
    path = job.languages or job.model / LANGUAGES
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no language table; give --languages conf/languages.tsv")
    return LanguageTable.load(path)


def _report(rows: list) -> None:
    """Print the rows to stdout, and log the number of rows in each state."""
    print("state\ttensor\tgot\tours\twanted")
    for row in rows:
        print(row)
    counts = Counter(row.state for row in rows)
    log(", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "no tensor")


if __name__ == "__main__":
    sys.exit(main())
