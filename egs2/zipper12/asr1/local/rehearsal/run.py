"""Rehearse the full-scale experiment on this machine before renting a larger one.

In: conf/rehearsal, a depth. Out: <out>/REPORT.md with the time and peak memory of each step. Random backbones of the
published sizes go through one alignment step, one adaptation step of each variant, a kill and a resume, decoding,
export and transcription, each in a separate process. Nothing is downloaded. Finished steps are skipped if the command
is run again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from zipperasr.atomic import atomic_path
from zipperasr.cli import log, parser, run_step
from zipperasr.corpora import CORPORA
from zipperasr.languages import LanguageTable
from zipperasr.lora import VARIANTS
from zipperasr.markdown import table
from zipperasr.prepare.dataset_table import load_datasets
from zipperasr.report.machine import machine_table
from zipperasr.timed_command import run_timed

SIZES = {"align_train": 4, "high_train": 4, "low_train_1h": 2, "low_train_30h": 2, "dev": 4, "test": 2}
DECODED = "test_mls_de"
RESUME = "resume after a kill"


@dataclass(frozen=True)
class RehearsalOptions:
    """What is rehearsed."""

    depth: str  # layers of each stack, or full
    lora: tuple[str, ...]  # variants to adapt
    ngpu: int  # 0: CPU
    out: Path
    invocation: str  # for the report


class Rehearsal:
    """Runs the steps in order and records their time and memory in <out>/steps.json; finished steps are skipped."""

    def __init__(self, out: Path, ngpu: int):
        self.out, self.ngpu = out, ngpu
        self._record = out / "steps.json"
        # step, seconds, peak memory in MB
        self.rows: list[tuple[str, float, float]] = (
            json.loads(self._record.read_text()) if self._record.is_file() else []
        )

    def has_run(self, name: str) -> bool:
        return any(name == row[0] for row in self.rows)

    def run(self, name: str, *command: str | Path) -> None:
        """Run one step, with its output in <out>/logs. Raises ValueError if it fails."""
        if self.has_run(name):
            log(f"{name}: already done")
            return
        log_file = self.out / "logs" / f"{len(self.rows):02d}_{name.replace(' ', '_')}.log"
        log_file.parent.mkdir(parents=True, exist_ok=True)
        words = ["bash", "-c", 'log=$1; shift; exec "$@" >"${log}" 2>&1', "-", str(log_file), *map(str, command)]
        status, seconds, peak_mb = run_timed(words)
        if status:
            raise ValueError(
                f"{name}: exit status {status} after {seconds:.0f} s and {peak_mb:,.0f} MB; see {log_file}"
            )
        self.rows.append((name, seconds, peak_mb))
        with atomic_path(self._record) as temporary:
            temporary.write_text(json.dumps(self.rows), encoding="utf-8")
        log(f"{name}: {seconds:.0f} s, peak memory {peak_mb:,.0f} MB")

    def module(self, name: str, module: str, *arguments: str | Path) -> None:
        self.run(name, sys.executable, "-m", module, *arguments)

    def training(self, *arguments: str | Path) -> list[str]:
        """Return the training command that asr.sh would run, for the GPUs of this machine or one process on the CPU."""
        launcher = ["utils/launch.sh", "--ngpu", str(self.ngpu), "--nproc", "1", "-m", "zipperasr.stages.train"]
        return [*launcher, *map(str, arguments), "--manifest", str(self.out / "dump/manifest")]

    def report(self, command: str, depth: str) -> str:
        """Return the report in Markdown."""
        lines = [[name, f"{seconds:.0f}", f"{peak_mb / 1024:.1f}"] for name, seconds, peak_mb in self.rows]
        total, peak = sum(row[1] for row in self.rows), max(row[2] for row in self.rows)
        lines.append(["**total**", f"**{total:.0f}**", f"**{peak / 1024:.1f}**"])
        steps = table(["step", "wall time, s", "peak host memory, GiB"], lines, num_labels=1)
        return f"# Rehearsal at depth {depth}\n\n`{command}`\n\n{steps}\n\n{machine_table()}\n"


def rehearse(options: RehearsalOptions) -> None:
    """Run all steps. Raises ValueError if one fails."""
    out = options.out
    conf = write_configuration(out, options.depth)
    rehearsal = Rehearsal(out, options.ngpu)
    model = ["--model", conf / "model.yaml"]
    rehearsal.module("corpora and backbones", "local.prepare", "--conf", conf)
    data, raw, manifest = out / "data", out / "dump/raw", out / "dump/manifest"
    rehearsal.module(
        "data directories", "zipperasr.stages.prepare_data", "--corpora", conf / "corpora.yaml", "--out", data
    )
    rehearsal.module("audio", "zipperasr.stages.format_audio", "--data", data, "--out", raw)
    rehearsal.module("manifest", "zipperasr.stages.build_manifest", "--raw", raw, *model, "--out", manifest)
    lid = ["--manifest", manifest, "--out", out / "lid"]
    rehearsal.module("language embeddings", "zipperasr.stages.language_embeddings", *model, *lid, "--utterances", "1")
    align = ["--phase", "align", *model, "--config", conf / "align.yaml", "--out", out / "align"]
    rehearsal.run("alignment, one step", *rehearsal.training(*align))
    for variant in options.lora:
        rehearsal.run(f"adaptation, one step: {variant}", *rehearsal.training(*_adaptation(out, variant)))
    _kill_and_resume(rehearsal, options.lora[-1])
    trained = out / f"sft_{options.lora[-1]}"
    decoding = ["--exp", trained, "--config", conf / "decode.yaml", "--manifest", manifest, "--sets", DECODED]
    rehearsal.module("decoding", "zipperasr.stages.decode", *decoding)
    bundle = out / "bundle.zip"
    if not rehearsal.has_run("export"):
        bundle.unlink(missing_ok=True)
    rehearsal.module("export", "zipperasr", "export", "--model", trained, "--format", "bundle", "--out", bundle)
    clip = min((out / "downloads/mls/mls_german/test").rglob("*.flac"))
    rehearsal.module(
        "transcription", "zipperasr", "transcribe", "--model", bundle, "--lang", "de", "--precision", "bf16", clip
    )
    with atomic_path(out / "REPORT.md") as temporary:
        temporary.write_text(rehearsal.report(options.invocation, options.depth), encoding="utf-8")
    log(f"written: {out / 'REPORT.md'}")


def write_configuration(out: Path, depth: str) -> Path:
    """Write <out>/conf: conf/rehearsal with a few utterances, one global batch, and backbones of this depth.

    The global batch has one pack per language of the phase.
    """
    conf = out / "conf"
    conf.mkdir(parents=True, exist_ok=True)
    downloads = out / "downloads"
    languages = languages_by_phase()
    own = {
        "model": {"whisper": str(out / "backbones/whisper"), "llm": str(out / "backbones/llm")},
        "align": {"packs_per_batch": len(languages["align"])},
        "sft": {"packs_per_batch": len(languages["sft"])},
        "decode": {},
        "corpora": {"roots": {name: str(downloads / name) for name in CORPORA}, "utt_ids": str(downloads / "utt_ids")},
        "mini_corpora": SIZES,
        "random_backbones": {"depth": depth if depth == "full" else int(depth)},
    }
    for name, settings in own.items():
        tree = {"base": os.path.relpath(Path("conf/rehearsal") / f"{name}.yaml", conf), **settings}
        (conf / f"{name}.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return conf


def languages_by_phase() -> dict[str, set[str]]:
    """Return the languages in conf/datasets.tsv."""
    rows = load_datasets("conf/datasets.tsv", "1h", LanguageTable.load("conf/languages.tsv"))
    return {phase: {row.language for row in rows if row.is_in(phase)} for phase in ("align", "sft")}


def _adaptation(out: Path, variant: str, *more: str) -> list[str | Path]:
    conf = out / "conf"
    start = ["--phase", "sft", "--model", conf / "model.yaml", "--config", conf / "sft.yaml", "--lora", variant]
    return [*start, "--init", out / "align", "--lid", out / "lid", "--out", out / f"sft_{variant}", *more]


def _kill_and_resume(rehearsal: Rehearsal, variant: str) -> None:
    """Kill a training of several steps after its first checkpoint; finish it with the same command."""
    out = rehearsal.out / "killed"
    if rehearsal.has_run(RESUME):
        log(f"{RESUME}: already done")
        return
    shutil.rmtree(out, ignore_errors=True)
    half = len(languages_by_phase()["sft"]) // 2
    words = _adaptation(rehearsal.out, variant, "--set", f"packs_per_batch={half}", "save_every=1")
    words[words.index("--out") + 1] = out
    command = rehearsal.training(*words)
    since = time.monotonic()
    with (rehearsal.out / "logs" / "killed.log").open("w") as stream:
        child = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
        while not (out / "checkpoints/step-1").is_dir() and child.poll() is None:
            time.sleep(0.2)
        if child.poll() is not None:
            raise ValueError(f"kill: the training ended before its first checkpoint; see {stream.name}")
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    log(f"kill: after {time.monotonic() - since:.0f} s, after the checkpoint of step 1")
    rehearsal.run(RESUME, *command)


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.prog = "local/rehearse.sh"
    options.add_argument("--depth", default="full", help="layers of each stack, or full for as many as the real models")
    options.add_argument("--lora", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="variants to adapt")
    options.add_argument("--ngpu", type=int, default=0, help="GPUs to use; 0 computes on the CPU")
    options.add_argument("--out", type=Path, help="output directory [exp_rehearsal/depth_DEPTH]")
    words = list(sys.argv[1:] if argv is None else argv)
    given = options.parse_args(words)
    out = given.out or Path(f"exp_rehearsal/depth_{given.depth}")
    invocation = " ".join(["local/rehearse.sh", *words])
    chosen = RehearsalOptions(given.depth, tuple(given.lora), given.ngpu, out, invocation)
    return run_step(lambda _: rehearse(chosen), given, "rehearsal")


if __name__ == "__main__":
    sys.exit(main())
