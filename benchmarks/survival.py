"""Kill the recipe repeatedly and compare its data, weights, hypotheses and report with an uninterrupted run's.

Output: a section of RESULTS.md, or an error that names the files that differ. SIGKILL is sent to all processes of the
run at a random time in a random stage; then the same command is run again.
"""

from __future__ import annotations

import argparse
import csv
import filecmp
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from record import write_section
from shared_options import add_results

from zipperasr.cli import log, parser, run_step
from zipperasr.markdown import table

RECIPE = Path(__file__).resolve().parents[1] / "egs2" / "zipper12" / "asr1"
REDUCED = {"align_train": 44, "high_train": 40, "low_train_1h": 6, "low_train_30h": 8, "dev": 4, "test": 4}
COMPARED = ("data", "dump", "exp", "RESULTS.md", "RESULTS.tsv")
# logs, and files with times, memory or process ids
IGNORED = re.compile(
    r"/(tensorboard|logs|figures|images|backbones)/|\.log$"
    r"|/(stages\.tsv|versions\.json|rtf\.json|\.outputs\.json|events\..*)$"
)
CLOCKS = (
    "seconds",
    "audio_s_per_s",
    "tokens_per_s",
    "peak_gb",
    "mfu",
)  # keys of train.jsonl that vary between runs
TIMED_SECTIONS = ("Time and memory", "Cost", "Command", "Machine and versions")
TIMED_COLUMN = "audio s per s"


@dataclass(frozen=True)
class Moment:
    """When to kill: a stage and the number of seconds after its start."""

    stage: int
    after_s: float


def make_recipe(directory: Path) -> Path:
    """Create a recipe at a reduced mini scale: links to the shared stages, a copy of conf/."""
    directory.mkdir(parents=True)
    for name in ("asr.sh", "path.sh", "cmd.sh", "utils", "local", "run.sh"):
        (directory / name).symlink_to((RECIPE / name).resolve())
    shutil.copytree(RECIPE / "conf", directory / "conf")
    mini = directory / "conf" / "mini"
    _edit(mini / "mini_corpora.yaml", **REDUCED, speaker_utts=4, repeats=1)
    for phase in ("align", "sft"):
        _edit(mini / f"{phase}.yaml", epochs=1, log_every=2, eval_every=5, save_every=3)
    return directory


def run_to_the_end(directory: Path, stop_stage: int) -> None:
    """Run the recipe. Raises RuntimeError with the end of the log if it fails."""
    status = _start(directory, stop_stage).wait()
    if status:
        raise RuntimeError(f"{directory}: exit status {status}: {_log(directory)[-2000:]}")


def run_and_kill(directory: Path, stop_stage: int, moment: Moment) -> bool:
    """Start the recipe and kill all its processes at `moment`. Returns False if it finished before."""
    seen = len(_log(directory))
    process = _start(directory, stop_stage)
    while f" stage {moment.stage}: " not in _log(directory)[seen:]:
        if process.poll() is not None:
            return _ended(directory, process)
        time.sleep(0.02)
    try:
        process.wait(moment.after_s)
        return _ended(directory, process)
    except subprocess.TimeoutExpired:
        pass
    for victim in [*psutil.Process(process.pid).children(recursive=True), process]:
        try:
            victim.kill()
        except psutil.NoSuchProcess:  # it has exited in the meantime
            continue
    process.wait()
    return True


def draw_moments(directory: Path, kills: int, seed: int) -> list[Moment]:
    """Draw one moment in each stage, the others in proportion to the stages' times; sorted by stage."""
    with (directory / "exp" / "stages.tsv").open(encoding="utf-8") as stream:
        times = {int(row["stage"]): float(row["wall_s"]) for row in csv.DictReader(stream, delimiter="\t")}
    draw = random.Random(seed)
    stages = [*times, *draw.choices(list(times), list(times.values()), k=max(0, kills - len(times)))]
    return [Moment(stage, draw.uniform(0, times[stage])) for stage in sorted(draw.sample(stages, kills))]


def differences(one: Path, other: Path) -> Iterator[str]:
    """Name the files that only one recipe has, and those that differ in more than times."""
    mine, theirs = ({path.relative_to(base) for path in _files(base)} for base in (one, other))
    yield from (f"{path}: only in one of them" for path in sorted(mine ^ theirs))
    for path in sorted(mine & theirs):
        if not filecmp.cmp(one / path, other / path, shallow=False) and _stable(one / path) != _stable(other / path):
            yield f"{path}: differs"


def _files(base: Path) -> Iterator[Path]:
    for name in COMPARED:
        for path in [base / name, *(base / name).rglob("*")]:
            if path.is_file() and not IGNORED.search(str(path)):
                yield path


def _stable(path: Path) -> object:
    """A file's content without times."""
    content = path.read_bytes()
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in content.splitlines()]
        return [{key: value for key, value in line.items() if key not in CLOCKS} for line in lines]
    if path.name == ".inputs.json":
        return {
            key: value for key, value in json.loads(content).items() if key != "roots"
        }  # roots: directories with modification times
    if path.name == "RESULTS.md":
        return _without_times(content.decode())
    return content


def _without_times(page: str) -> list[list[str]]:
    lines, column = [], None
    for section in re.split(r"^## ", page, flags=re.MULTILINE):
        if section.startswith(TIMED_SECTIONS):
            continue
        for line in section.splitlines():
            cells = line.split(" | ")
            column = next((i for i, cell in enumerate(cells) if TIMED_COLUMN in cell), column if line else None)
            lines.append([cell for i, cell in enumerate(cells) if i != column])
    return lines


def _start(directory: Path, stop_stage: int) -> subprocess.Popen:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "run.sh", "--stage", "0", "--stop-stage", str(stop_stage)]
    with (directory / "run.log").open("a") as stream:
        return subprocess.Popen(command, cwd=directory, env=environment, stdout=stream, stderr=stream)


def _ended(directory: Path, process: subprocess.Popen) -> bool:
    if process.returncode:
        raise RuntimeError(f"{directory}: exit status {process.returncode}: {_log(directory)[-2000:]}")
    return False


def _log(directory: Path) -> str:
    path = directory / "run.log"
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _edit(path: Path, **values) -> None:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**tree, **values}), encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--kills", type=int, default=20, help="how often to kill the recipe")
    options.add_argument("--stop_stage", type=int, default=9, help="last stage to run")
    options.add_argument("--seed", type=int, default=1, help="random seed")
    options.add_argument(
        "--work", type=Path, required=True, help="working directory; a finished uninterrupted run in it is reused"
    )
    add_results(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.survival")


def _run(options: argparse.Namespace) -> None:
    unbroken, killed = options.work / "unbroken", options.work / "asr1"
    if not unbroken.exists():  # made in the same directory as the killed run, because some files contain their path
        shutil.rmtree(killed, ignore_errors=True)
        run_to_the_end(make_recipe(killed), options.stop_stage)
        killed.rename(unbroken)
    shutil.rmtree(killed, ignore_errors=True)
    make_recipe(killed)
    struck: dict[int, int] = {}
    for moment in draw_moments(unbroken, options.kills, options.seed):
        if run_and_kill(killed, options.stop_stage, moment):
            struck[moment.stage] = struck.get(moment.stage, 0) + 1
            log(f"killed in stage {moment.stage} after {moment.after_s:.1f} s")
    run_to_the_end(killed, options.stop_stage)
    found = list(differences(unbroken, killed))
    if found:
        raise ValueError(f"{len(found)} files differ from the uninterrupted run's:\n" + "\n".join(found[:20]))
    rows = [[str(stage), str(count)] for stage, count in struck.items()]
    body = (
        f"The recipe at a reduced mini scale was killed {sum(struck.values())} times (SIGKILL to all its processes, at "
        "random times) and restarted with the same command. It ends with the same files as an uninterrupted run: "
        f"{sum(1 for _ in _files(unbroken))} files below {', '.join(COMPARED)} are identical except for times.\n\n"
    )
    write_section("Killed and restarted", body + table(["stage", "kills"], rows), options.results)


if __name__ == "__main__":
    sys.exit(main())
