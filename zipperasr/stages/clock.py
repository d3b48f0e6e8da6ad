"""Run one command; record how long it took and how much memory it and its children held at most.

In: a command. Out: one line appended to exp/stages.tsv, and the command's own exit status. If a signal killed the
command, a log line names the signal, the peak memory and what to lower. Memory is sampled, twice a second at first and
every 5 s later, so a short peak may be missed; pages that processes share count once (PSS).
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil

from zipperasr.cli import log, parser

HEADER = ("stage", "description", "wall_s", "peak_rss_mb", "when")
FIRST_SAMPLE_S, LAST_SAMPLE_S = 0.5, 5.0  # a sample costs up to 0.1 s of CPU; a long stage is asked less often
REMEDIES = {  # stage -> what lowers its memory
    "1": "--nj",
    "2": "--nj",
    "5": "packs_per_batch or num_workers (--train_args), or --nproc",
    "6": "packs_per_batch or num_workers (--train_args), or --nproc",
    "7": "batch_size or batch_positions (--decode_args)",
}
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_CGROUP_LIMITS = ("/sys/fs/cgroup{}/memory.max", "/sys/fs/cgroup/memory{}/memory.limit_in_bytes")  # versions 2 and 1


def run_timed(command: list[str]) -> tuple[int, float, float]:
    """Run `command`. Returns its exit status, wall time in seconds and peak memory in MB."""
    start = time.monotonic()
    with subprocess.Popen(command) as child:
        passed_on = {number: signal.signal(number, lambda number, _: child.send_signal(number)) for number in _SIGNALS}
        try:
            peak_mb = _watch(child)
        finally:
            for number, handler in passed_on.items():
                signal.signal(number, handler)
    return _exit_status(child.returncode), time.monotonic() - start, peak_mb


def _watch(child: subprocess.Popen) -> float:
    """Sample the tree of `child` until it ends. Returns the highest sum in MB."""
    peak_mb, pause_s = 0.0, FIRST_SAMPLE_S
    while True:
        peak_mb = max(peak_mb, _tree_mb(child.pid))
        try:
            child.wait(pause_s)
            return peak_mb
        except subprocess.TimeoutExpired:
            pause_s = min(LAST_SAMPLE_S, 1.1 * pause_s)


def _tree_mb(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        return sum(_process_mb(one) for one in [process, *process.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0.0


def _process_mb(process: psutil.Process) -> float:
    try:
        return process.memory_full_info().pss / 2**20
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0.0  # it ended between being listed and being measured
    except (psutil.AccessDenied, AttributeError):  # another user's process, or a system without PSS
        return process.memory_info().rss / 2**20


def _exit_status(returncode: int) -> int:
    """A signal becomes 128 + its number, as shells report it."""
    return 128 - returncode if returncode < 0 else returncode


def failure(stage: str, status: int, wall_s: float, peak_mb: float) -> str:
    """What the log says of a stage that ended with `status`."""
    number = signal_of(status)
    if number is None:
        return f"stage {stage}: FAILED after {wall_s:.0f} s and at most {peak_mb:.0f} MB"
    memory = f"peak {peak_mb / 1024:.1f} GB of {memory_limit_mb() / 1024:.1f}"
    if number != signal.SIGKILL:
        return f"stage {stage}: FAILED after {wall_s:.0f} s: killed by {number.name}; {memory}"
    remedy = f"lower {REMEDIES[stage]}" if stage in REMEDIES else "use a machine with more memory"
    return f"stage {stage}: FAILED after {wall_s:.0f} s: killed by SIGKILL, probably out of memory: {memory}; {remedy}"


def signal_of(status: int) -> signal.Signals | None:
    """The signal behind an exit status: 137 from a shell, 247 from a Python launcher that passes -9 on."""
    number = status - 128 if status < 160 else 256 - status if status < 253 else 0  # 253 to 255 are a program's own
    return next((known for known in signal.Signals if known == number), None)


def memory_limit_mb() -> float:
    """The machine's memory, or what the batch system or container lets this process have."""
    limits = [psutil.virtual_memory().total]
    cgroups = Path("/proc/self/cgroup")
    lines = cgroups.read_text(encoding="utf-8").splitlines() if cgroups.exists() else []
    for cgroup in [line.split(":", 2)[2] for line in lines]:
        for part in (Path(cgroup), *Path(cgroup).parents):
            for pattern in _CGROUP_LIMITS:
                path = Path(pattern.format(str(part).rstrip("/")))
                text = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
                limits += [int(text)] if text.isdigit() else []
    return min(limits) / 2**20


def append_row(path: Path, stage: str, description: str, wall_s: float, peak_mb: float) -> None:
    """Add one line; the header if the file is new. Several stages may write at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        row = (stage, description, f"{wall_s:.1f}", f"{peak_mb:.0f}", f"{datetime.now():%Y-%m-%dT%H:%M:%S}")
        lines = [row] if os.fstat(stream.fileno()).st_size else [HEADER, row]
        stream.write("".join("\t".join(line) + "\n" for line in lines))


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--table", type=Path, default=Path("exp/stages.tsv"), help="the table to append to")
    options.add_argument("--stage", required=True, help="the stage's number")
    options.add_argument("--description", required=True, help="what it does, in a few words")
    options.add_argument("command", nargs=argparse.REMAINDER, help="after --, the command and its arguments")
    arguments = sys.argv[1:] if argv is None else argv
    if "--" not in arguments:
        options.error("wanted -- and a command")
    cut = arguments.index("--")
    chosen, command = options.parse_args(arguments[:cut]), arguments[cut + 1 :]
    if not command:
        options.error("wanted a command after --")
    status, wall_s, peak_mb = run_timed(command)
    if status:
        log(failure(chosen.stage, status, wall_s, peak_mb))
    else:
        log(f"stage {chosen.stage}: took {wall_s:.0f} s and at most {peak_mb:.0f} MB")
    if status == 0 and os.environ.get("SLURM_NODEID", "0") == "0":  # one row, also where many machines share a stage
        append_row(chosen.table, chosen.stage, " ".join(chosen.description.split()), wall_s, peak_mb)
    return status


if __name__ == "__main__":
    sys.exit(main())
