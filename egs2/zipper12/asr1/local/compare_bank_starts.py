"""Where should a new language's bank start? The starts of a variant, several seeds each; and all parts trained instead.

In: a trained system, a language whose data stages 0 to 4 have prepared. Out: a Markdown page. Trainings, decodings and
scores are run.sh's, so what is finished is not done again. The first seed's systems decode the other languages too.
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
from zipperasr.model.experiment import Experiment
from zipperasr.report.machine import machine_table
from zipperasr.report.read_files import read_jsonl
from zipperasr.score.scores_table import read_scores
from zipperasr.stages.decode import main as decode
from zipperasr.stages.score import main as score

HEADER = ("start", "trains", "seeds", "dev loss: at the start", "at the end", "error rate, %", "character errors, %")
HEADER += ("other languages: mean error rate, %", "test sets with the same bits")
ALL = "all"


@dataclass(frozen=True)
class System:
    """One row of the table: a training directory for each seed."""

    start: str
    parts: str
    directories: tuple[Path, ...]


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--init_from", type=Path, required=True, help="the trained system")
    options.add_argument("--add_lang", required=True, metavar="CODE", help="the new language")
    options.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="of packs and chunk lengths")
    options.add_argument("--bank_args", default="", help="settings over sft.yaml where the bank alone trains")
    options.add_argument("--all_args", default="", help="settings over sft.yaml where all parts train")
    options.add_argument("--nproc", type=int, default=1, help="processes of each training")
    options.add_argument("--out", type=Path, default=Path("ADD_LANGUAGE.md"), help="the page to write")
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = options.parse_args(words)
    chosen.invocation = shlex.join(["local/compare_bank_starts.sh", *words])
    return run_step(_run, chosen, "local.compare_bank_starts")


def _run(options: argparse.Namespace) -> None:
    source = Experiment.load(options.init_from)
    starts = variant_class(source.lora).bank_starts
    if not starts:
        raise ValueError(f"{options.init_from}: {source.lora} has no banks, so there are no starts to compare")
    if decode(["--exp", str(options.init_from), "--config", "conf/mini/decode.yaml"]) or score(
        ["--exp", str(options.init_from)]
    ):
        raise ValueError(f"{options.init_from}: cannot be decoded and scored; the line above says why")
    systems = []
    for start, parts in [*((start, "bank") for start in starts), (starts[0], ALL)]:
        systems.append(System(start, parts, tuple(_train(options, start, parts, seed) for seed in options.seeds)))
        with atomic_path(options.out) as temporary:
            temporary.write_text(_page(systems, options), encoding="utf-8")


def _train(options: argparse.Namespace, start: str, parts: str, seed: int) -> Path:
    """Train, decode and score by run.sh; the training directory. Raises CalledProcessError."""
    tag = f"_{start}_{parts}_seed{seed}"
    settings = options.all_args if parts == ALL else options.bank_args
    evaluated = ALL if seed == options.seeds[0] else options.add_lang
    command = ["./run.sh", "--stage", "6", "--stop-stage", "8", "--nproc", str(options.nproc), "--seed", str(seed)]
    command += ["--init_from", str(options.init_from), "--add_lang", options.add_lang, "--bank_from", start]
    command += ["--train_parts", parts, "--tag", tag, "--eval_lang", evaluated]
    subprocess.run([*command, "--train_args", f"{settings} eval_first=true".strip()], check=True)
    return options.init_from.with_name(f"{options.init_from.name}_add_{options.add_lang}{tag}")


def _page(systems: Sequence[System], options: argparse.Namespace) -> str:
    before = other_languages(options.init_from, options.add_lang)
    rows = [["(before)", *["–"] * 6, f"{before:.2f}", "–"], *(_row(system, options) for system in systems)]
    parts = [
        f"# {options.add_lang} comes to {options.init_from.name}",
        "Starts of the new language's bank. Mean ± standard deviation over seeds (of packs and chunk lengths). The "
        "other languages are those of the first seed's system: their mean, and how many of their test sets have the "
        "same hypotheses and the same means of the encoder's output, to the bit, as before.",
        table(HEADER, rows, num_labels=2),
        f"## Command\n\n```\n{options.invocation}\n```",
        f"## Machine and versions\n\n{machine_table()}\n",
    ]
    return "\n\n".join(parts)


def _row(system: System, options: argparse.Namespace) -> list[str]:
    losses = [read_jsonl(directory / "dev.jsonl") for directory in system.directories]
    rates = [new_language(directory, options.add_lang) for directory in system.directories]
    first = system.directories[0]
    same, total = same_bits(first, options.init_from, options.add_lang)
    return [
        system.start,
        system.parts,
        str(len(system.directories)),
        spread([of_seed[0]["loss"] for of_seed in losses]),
        spread([of_seed[-1]["loss"] for of_seed in losses]),
        spread([rate for rate, _ in rates]),
        spread([cer for _, cer in rates]),
        f"{other_languages(first, options.add_lang):.2f}",
        f"{same} of {total}",
    ]


def new_language(exp: Path, code: str) -> tuple[float, float]:
    """(error rate in the language's unit, character error rate) of its test sets, in per cent, after normalisation."""
    rows = [row for path in _scores(exp) for row in read_scores(path) if row.language == code]
    audits = [path for row in rows for path in exp.glob(f"decode_*/{row.set}/score_{row.unit}/audit.jsonl")]
    pairs = [json.loads(line) for path in audits for line in path.read_text(encoding="utf-8").splitlines()]
    references, hypotheses = ([" ".join(pair[side]) for pair in pairs] for side in ("reference", "hypothesis"))
    errors = sum(row.errors for row in rows)
    return 100 * errors / sum(row.ref_units for row in rows), 100 * jiwer.cer(references, hypotheses)


def other_languages(exp: Path, code: str) -> float:
    """Mean error rate over the other languages, in per cent; test sets of a language count as one."""
    rows = [row for path in _scores(exp) for row in read_scores(path) if row.language != code]
    rows = [row for row in rows if row.normaliser != "whisper_marks"]
    of = {language: [row for row in rows if row.language == language] for language in {row.language for row in rows}}
    return mean(100 * sum(r.errors for r in sets) / sum(r.ref_units for r in sets) for sets in of.values())


def same_bits(exp: Path, before: Path, code: str) -> tuple[int, int]:
    """Of the other languages' test sets: how many have the same hypotheses and encoder outputs as `before`, and all."""
    sets = {row.set for path in _scores(exp) for row in read_scores(path) if row.language != code}
    names = ("text", "encoder_means.ark")
    found = [[path.read_bytes() for name in names for path in sorted(d.glob(f"decode_*/{s}/{name}"))]
             for s in sorted(sets) for d in (exp, before)]  # fmt: skip
    return sum(one == other for one, other in zip(found[::2], found[1::2], strict=True)), len(sets)


def spread(values: Sequence[float]) -> str:
    """Mean, and ± standard deviation where there are several."""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def _scores(exp: Path) -> list[Path]:
    return sorted(exp.glob("decode_*/scores.tsv"))


if __name__ == "__main__":
    sys.exit(main())
