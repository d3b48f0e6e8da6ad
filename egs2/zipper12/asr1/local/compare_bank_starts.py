"""Compare what is trained for a new language, and initialisations of its bank, with several seeds each.

In: a trained system, and a language whose data stages 0 to 4 have prepared. Out: a Markdown page. run.sh trains,
decodes and scores, and skips what is finished. The systems of the first seed also decode the other languages.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import jiwer

from zipperasr.atomic import atomic_path
from zipperasr.cli import parser, run_step
from zipperasr.lora import variant_class
from zipperasr.markdown import table
from zipperasr.model.checkpoint import count_trained
from zipperasr.model.experiment import WEIGHTS, Experiment
from zipperasr.report.machine import machine_table
from zipperasr.report.read_files import read_jsonl
from zipperasr.score.scores_table import read_scores
from zipperasr.stages.decode import main as decode
from zipperasr.stages.score import main as score

HEADER = ("initialisation", "trained", "parameters", "training, s", "seeds", "dev loss: first", "last")
HEADER += ("error rate, %", "character errors, %")
HEADER += ("other languages: mean error rate, %", "bit-identical test sets")
ALL = "all"


@dataclass(frozen=True)
class Comparison:
    """What is compared."""

    init_from: Path  # the trained system
    add_lang: str  # the new language
    parts: tuple[str, ...] = ("bank own_projector", "bank", ALL)  # what is trained, see --train_parts
    starts: tuple[str, ...] = ()  # of the bank, with the first of `parts`; (): all that the variant has
    seeds: tuple[int, ...] = (1, 2, 3)
    bank_args: str = ""  # override sft.yaml if only parts of the language are trained
    all_args: str = ""  # override sft.yaml if all parts are trained
    nproc: int = 1
    out: Path = Path("ADD_LANGUAGE.md")
    invocation: str = ""  # for the page


@dataclass(frozen=True)
class System:
    """One row of the table, with a training directory for each seed."""

    start: str
    parts: str
    directories: tuple[Path, ...]


def compare(options: Comparison) -> None:
    """Train, decode and score all systems, and update the page after each. Raises ValueError."""
    source = Experiment.load(options.init_from)
    starts = options.starts or variant_class(source.lora).bank_starts
    if not starts:
        raise ValueError(f"{options.init_from}: {source.lora} has no banks, so there are no initialisations to compare")
    if decode(["--exp", str(options.init_from), "--config", "conf/mini/decode.yaml"]) or score(
        ["--exp", str(options.init_from)]
    ):
        raise ValueError(f"{options.init_from}: cannot be decoded and scored; see the error above")
    systems = []
    for start, parts in [*((starts[0], p) for p in options.parts), *((s, options.parts[0]) for s in starts[1:])]:
        systems.append(System(start, parts, tuple(_train(options, start, parts, seed) for seed in options.seeds)))
        with atomic_path(options.out) as temporary:
            temporary.write_text(_page(systems, options), encoding="utf-8")


def _train(options: Comparison, start: str, parts: str, seed: int) -> Path:
    """Train, decode and score with run.sh. Returns the training directory. Raises CalledProcessError."""
    tag = f"_{start}_{parts.replace(' ', '_')}_seed{seed}"
    settings = options.all_args if parts == ALL else options.bank_args
    evaluated = ALL if seed == options.seeds[0] else options.add_lang
    command = ["./run.sh", "--stage", "6", "--stop-stage", "8", "--nproc", str(options.nproc), "--seed", str(seed)]
    command += ["--init_from", str(options.init_from), "--add_lang", options.add_lang, "--bank_from", start]
    command += ["--train_parts", parts, "--tag", tag, "--eval_lang", evaluated]
    subprocess.run([*command, "--train_args", f"{settings} eval_first=true".strip()], check=True)
    return options.init_from.with_name(f"{options.init_from.name}_add_{options.add_lang}{tag}")


def _page(systems: Sequence[System], options: Comparison) -> str:
    before = other_languages(options.init_from, options.add_lang)
    rows = [["(before)", *["–"] * 8, f"{before:.2f}", "–"], *(_row(system, options) for system in systems)]
    parts = [
        f"# Adding {options.add_lang} to {options.init_from.name}",
        "Parts of the model that are trained, and initialisations of the new language's bank. Mean ± standard "
        "deviation over random seeds. The results of the other languages are those of the first seed: their mean error "
        "rate, and for how many of their test sets hypotheses and means of the encoder's output are bit-identical to "
        "those before.",
        table(HEADER, rows, num_labels=2),
        f"## Command\n\n```\n{options.invocation}\n```",
        f"## Machine and versions\n\n{machine_table()}\n",
    ]
    return "\n\n".join(parts)


def _row(system: System, options: Comparison) -> list[str]:
    losses = [read_jsonl(directory / "dev.jsonl") for directory in system.directories]
    rates = [new_language(directory, options.add_lang) for directory in system.directories]
    all_seeds, first = system.directories, system.directories[0]
    same, total = same_bits(first, options.init_from, options.add_lang)
    return [
        system.start,
        system.parts,
        f"{count_trained(first / WEIGHTS)[1]:,}",
        spread([sum(line["seconds"] for line in read_jsonl(directory / "train.jsonl")) for directory in all_seeds], 0),
        str(len(system.directories)),
        spread([of_seed[0]["loss"] for of_seed in losses]),
        spread([of_seed[-1]["loss"] for of_seed in losses]),
        spread([rate for rate, _ in rates]),
        spread([cer for _, cer in rates]),
        f"{other_languages(first, options.add_lang):.2f}",
        f"{same} of {total}",
    ]


def new_language(exp: Path, code: str) -> tuple[float, float]:
    """Return (error rate in its unit, character error rate) of the language, in per cent, after normalisation."""
    rows = [row for path in _scores(exp) for row in read_scores(path) if row.language == code]
    audits = [path for row in rows for path in exp.glob(f"decode_*/{row.set}/score_{row.unit}/audit.jsonl")]
    pairs = [json.loads(line) for path in audits for line in path.read_text(encoding="utf-8").splitlines()]
    references, hypotheses = ([" ".join(pair[side]) for pair in pairs] for side in ("reference", "hypothesis"))
    errors = sum(row.errors for row in rows)
    return 100 * errors / sum(row.ref_units for row in rows), 100 * jiwer.cer(references, hypotheses)


def other_languages(exp: Path, code: str) -> float:
    """Return the mean error rate over the other languages, in per cent; each language has one vote."""
    rows = [row for path in _scores(exp) for row in read_scores(path) if row.language != code]
    rows = [row for row in rows if row.normaliser != "whisper_marks"]
    of = {language: [row for row in rows if row.language == language] for language in {row.language for row in rows}}
    return mean(100 * sum(r.errors for r in sets) / sum(r.ref_units for r in sets) for sets in of.values())


def same_bits(exp: Path, before: Path, code: str) -> tuple[int, int]:
    """Return how many of the other languages' test sets are bit-identical to `before`, and how many there are."""
    sets = {row.set for path in _scores(exp) for row in read_scores(path) if row.language != code}
    names = ("text", "encoder_means.ark")
    found = [[path.read_bytes() for name in names for path in sorted(d.glob(f"decode_*/{s}/{name}"))]
             for s in sorted(sets) for d in (exp, before)]  # fmt: skip
    return sum(one == other for one, other in zip(found[::2], found[1::2], strict=True)), len(sets)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Format the mean, and ± the standard deviation if there are several values."""
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def _scores(exp: Path) -> list[Path]:
    return sorted(exp.glob("decode_*/scores.tsv"))


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--init_from", type=Path, required=True, help="the trained system")
    options.add_argument("--add_lang", required=True, metavar="CODE", help="the new language")
    options.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="random seeds")
    options.add_argument(
        "--parts", nargs="+", default=list(Comparison.parts), metavar="PARTS", help='as --train_parts, such as "bank"'
    )
    options.add_argument("--starts", nargs="+", default=[], help="as --bank_from, with the first of --parts")
    options.add_argument("--bank_args", default="", help="override sft.yaml if only parts of the language are trained")
    options.add_argument("--all_args", default="", help="override sft.yaml if all parts are trained")
    options.add_argument("--nproc", type=int, default=1, help="processes per training")
    options.add_argument("--out", type=Path, default=Path("ADD_LANGUAGE.md"), help="output page")
    words = list(sys.argv[1:] if argv is None else argv)

    def step(given: argparse.Namespace) -> None:
        tuples = {name: tuple(getattr(given, name)) for name in ("seeds", "parts", "starts")}
        invocation = shlex.join(["local/compare_bank_starts.sh", *words])
        compare(Comparison(**vars(given) | tuples, invocation=invocation))

    return run_step(step, options.parse_args(words), "local.compare_bank_starts")


if __name__ == "__main__":
    sys.exit(main())
