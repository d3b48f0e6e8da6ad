"""Stages 2 and 7 as one job and as several, each with one thread: wall time, and whether the files are the same.

Input: a recipe directory in which stages 0 to 5 have run; nothing in it is changed. Output: a section of RESULTS.md,
or an error that names a file that differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import write_section
from shared_options import add_results

from zipperasr.cli import log, parser, run_step
from zipperasr.markdown import table

ROOT = Path(__file__).resolve().parents[1]
TIMED = ("rtf.json", "run.json", ".outputs.json")  # files with times or sizes of such files


def command(stage: str, options: argparse.Namespace, out: Path) -> list[str]:
    """The command of a stage that writes to `out`, which is created."""
    if stage == "2":
        return ["zipperasr.stages.format_audio", "--data", str(options.data), "--out", str(out), "--nj", "1"]
    shutil.copytree(options.recipe / options.exp, out, ignore=shutil.ignore_patterns("decode_*", "checkpoints"))
    paths = {"exp": out, "config": options.config, "manifest": options.manifest, "languages": options.languages}
    return ["zipperasr.stages.decode", *(word for name, path in paths.items() for word in (f"--{name}", str(path)))]


def run(words: list[str], jobs: int, recipe: Path, log_file: Path) -> float:
    """Run a stage as `jobs` jobs on this machine. Returns the wall time in seconds, with start-up and merge."""
    sharded = [str(ROOT / "utils" / "shards.sh"), "--nj", str(jobs), "--cmd", str(ROOT / "utils" / "run.sh")]
    prefix = [*sharded, str(log_file)] if jobs > 1 else []
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    done = subprocess.run(
        [*prefix, "python3", "-m", *words], cwd=recipe, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise ValueError(f"{words[0]} failed: {' '.join(done.stderr.split())[-400:]}")
    return time.monotonic() - start


def digests(out: Path) -> dict[str, str]:
    """The content of all files without times."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name not in TIMED]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def measure(stage: str, options: argparse.Namespace) -> list[str]:
    """One row of the table. Raises ValueError if the number of jobs changes a file."""
    seconds: dict[int, list[float]] = {1: [], options.jobs: []}
    files: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        out = Path(work) / "out"  # always the same, because wav.scp contains it
        for round_number in range(options.rounds):
            for jobs, times in seconds.items():
                times.append(run(command(stage, options, out), jobs, options.recipe, Path(work) / "stage.log"))
                log(f"stage {stage}, round {round_number + 1}, {jobs} jobs: {times[-1]:.1f} s")
                found = digests(out)
                shutil.rmtree(out)
                files = files or found
                differing = sorted(name for name in files.keys() | found.keys() if files.get(name) != found.get(name))
                if differing:
                    raise ValueError(f"stage {stage}, {jobs} jobs: {differing[0]} differs from the first run's")
    one, several = (statistics.median(times) for times in seconds.values())
    return [stage, f"{one:.1f}", f"{several:.1f}", f"{one / several:.2f}", str(len(files))]


def benchmark(options: argparse.Namespace) -> None:
    rows = [measure(stage, options) for stage in options.stages]
    header = ["stage", "1 job, s", f"{options.jobs} jobs, s", "speed-up", "identical files"]
    body = (
        f"Wall time with start-up and merge, one thread per job, median of {options.rounds} rounds in which the two "
        "alternate. All files are the same, but for those with times."
    )
    write_section("Stages as parallel jobs", f"{body}\n\n{table(header, rows, 1)}", options.results)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    recipe = ROOT / "egs2" / "zipper12" / "asr1"
    options.add_argument("--recipe", type=Path, default=recipe, help="recipe directory; other paths are relative to it")
    options.add_argument("--data", type=Path, default=Path("data"), help="output of stage 1")
    options.add_argument("--exp", type=Path, default=Path("exp/align_chunked"), help="trained model to decode with")
    options.add_argument("--config", type=Path, default=Path("conf/mini/decode.yaml"), help="decoding configuration")
    options.add_argument("--manifest", type=Path, default=Path("dump/manifest"), help="output of stage 3")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--stages", nargs="+", choices=("2", "7"), default=("2", "7"), help="stages to measure")
    options.add_argument("--jobs", type=int, default=2, help="number of jobs to compare with one")
    options.add_argument("--rounds", type=int, default=3, help="number of rounds")
    options.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="directory for temporary files")
    add_results(options)
    return run_step(benchmark, options.parse_args(argv), "shards")


if __name__ == "__main__":
    sys.exit(main())
