"""Start every stage twice at the same time: one run must do the work, the other must end with a one-line error.

Output: a section of RESULTS.md, or an error that names the stage in which both runs worked, both failed, an error was
not one line, or a file differs from that of an undisturbed run. The recipe runs at a reduced mini scale.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

from record import write_section
from shared_options import add_results
from survival import differences, make_recipe, run_to_the_end

from zipperasr.cli import LONGEST_ERROR, log, parser, run_step
from zipperasr.markdown import table

OUTPUTS = {  # stage -> what it writes: patterns relative to the recipe's directory
    0: ("downloads", "exp/backbones"),
    1: ("data",),
    2: ("dump/raw",),
    3: ("dump/manifest",),
    4: ("exp/lid",),
    5: ("exp/align_chunked",),
    6: ("exp/sft_*",),
    7: ("exp/*/decode_*",),
    8: ("exp/*/decode_*/*/score_*", "exp/*/decode_*/scores.tsv"),
    9: ("RESULTS.md", "RESULTS.tsv", "exp/figures", "report.html", "report_audio"),
}
REFUSAL = re.compile(r": error: .*another run (writes here|has just started)")


def start_twice(directory: Path, stage: int) -> list[tuple[int, str]]:
    """Run the stage twice at the same time. Returns the exit status and log of both runs."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "run.sh", "--stage", str(stage), "--stop-stage", str(stage)]
    with tempfile.TemporaryDirectory() as scratch:
        logs = [Path(scratch) / name for name in ("first", "second")]
        runs = []
        for path in logs:
            with path.open("w") as stream:
                runs.append(subprocess.Popen(command, cwd=directory, env=environment, stdout=stream, stderr=stream))
        return [(run.wait(), path.read_text(errors="replace")) for run, path in zip(runs, logs, strict=True)]


def outcome(runs: list[tuple[int, str]]) -> str:
    """Return `refused` or `done before`. Raises ValueError if anything else happened."""
    statuses = sorted(status for status, _ in runs)
    if statuses == [0, 0]:
        return "done before"  # the second run started after the first had finished
    errors = [line for status, text in runs if status for line in text.splitlines() if ": error: " in line]
    if statuses != [0, 1] or len(errors) != 1 or not REFUSAL.search(errors[0]) or len(errors[0]) > LONGEST_ERROR:
        raise ValueError(f"exit statuses {statuses}, errors {errors}: wanted one success and one refusal")
    return "refused"


def remove_outputs(directory: Path, stage: int) -> None:
    for pattern in OUTPUTS[stage]:
        for path in directory.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def own_differences(undisturbed: Path, disturbed: Path, stage: int) -> list[str]:
    """Differences in the outputs of this stage and earlier ones; those of later stages in them have been removed."""
    later = [pattern for number, patterns in OUTPUTS.items() if number > stage for pattern in patterns]
    return [line for line in differences(undisturbed, disturbed) if not any(fnmatch(line, f"{one}*") for one in later)]


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--times", type=int, default=10, help="pairs of runs per stage")
    options.add_argument("--stages", type=int, nargs="+", default=list(OUTPUTS), help="stages to run")
    options.add_argument("--work", type=Path, required=True, help="working directory; a finished run in it is reused")
    add_results(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.two_runs")


def _run(options: argparse.Namespace) -> None:
    undisturbed, disturbed = options.work / "undisturbed", options.work / "asr1"
    if not undisturbed.exists():
        shutil.rmtree(disturbed, ignore_errors=True)
        run_to_the_end(make_recipe(disturbed), 9)
        shutil.copytree(disturbed, undisturbed, symlinks=True)
    rows = []
    for stage in options.stages:
        ended: Counter[str] = Counter()
        for _ in range(options.times):
            remove_outputs(disturbed, stage)
            ended[outcome(start_twice(disturbed, stage))] += 1
            if found := own_differences(undisturbed, disturbed, stage):
                raise ValueError(f"stage {stage}: {len(found)} files differ from the undisturbed run's: {found[:5]}")
        log(f"stage {stage}: {dict(ended)}")
        rows.append([str(stage), str(ended["refused"]), str(ended["done before"])])
    body = (
        f"Each stage of the recipe, at a reduced mini scale, was started twice at the same time, {options.times} "
        "times. One run did the work; the other failed with a one-line error that names the process and host of the "
        "first or, if it started slightly later, found the work done. All files are identical to those of an "
        "undisturbed run except for times.\n\n"
    )
    heads = ["stage", "refused with an error", "found the work done"]
    write_section("Two runs at once", body + table(heads, rows), options.results)


if __name__ == "__main__":
    sys.exit(main())
