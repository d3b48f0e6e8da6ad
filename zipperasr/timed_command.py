"""Run a command and measure its wall time and the peak memory of it and its children.

In: a command and the number of its stage. Out: exit status, times, a row of exp/stages.tsv, and a log line that says
what to reduce if memory ran out. Memory is sampled, every 0.5 s at first and every 5 s later, so a short peak may be
missed; pages shared between processes count once (PSS).
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import psutil

HEADER = ("stage", "description", "wall_s", "peak_rss_mb", "when")
FIRST_SAMPLE_S, LAST_SAMPLE_S = 0.5, 5.0  # each takes up to 0.1 s of CPU time
REMEDIES = {  # stage -> options that reduce its memory
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
        before = {number: signal.signal(number, lambda number, _: child.send_signal(number)) for number in _SIGNALS}
        try:
            peak_mb = _watch(child)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return _exit_status(child.returncode), time.monotonic() - start, peak_mb


def _watch(child: subprocess.Popen) -> float:
    """Sample the memory of `child` and its descendants until it exits. Returns the peak in MB."""
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
        return 0.0  # it exited after it was listed
    except (psutil.AccessDenied, AttributeError):  # another user's process, or a system without PSS
        return process.memory_info().rss / 2**20


def _exit_status(returncode: int) -> int:
    """Convert a signal to 128 + its number, as shells do."""
    return 128 - returncode if returncode < 0 else returncode


def failure(stage: str, status: int, wall_s: float, peak_mb: float) -> str:
    """Log line for a stage that failed with `status`."""
    number = signal_of(status)
    if number is None:
        return f"stage {stage}: FAILED after {wall_s:.0f} s, peak memory {peak_mb:.0f} MB"
    memory = f"peak memory {peak_mb / 1024:.1f} of {memory_limit_mb() / 1024:.1f} GB"
    if number != signal.SIGKILL:
        return f"stage {stage}: FAILED after {wall_s:.0f} s: killed by {number.name}; {memory}"
    remedy = f"reduce {REMEDIES[stage]}" if stage in REMEDIES else "use a machine with more memory"
    return f"stage {stage}: FAILED after {wall_s:.0f} s: killed by SIGKILL, probably out of memory: {memory}; {remedy}"


def signal_of(status: int) -> signal.Signals | None:
    """The signal behind an exit status. SIGKILL is 137 from a shell, 247 from a Python launcher that returns -9."""
    number = status - 128 if status < 160 else 256 - status if status < 253 else 0  # programs use 253 to 255 themselves
    return next((known for known in signal.Signals if known == number), None)


def memory_limit_mb() -> float:
    """Memory of the machine, or the limit that the batch system or container sets for this process."""
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
    """Append a row, with a header if the file is new. Several stages may write at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        row = (stage, description, f"{wall_s:.1f}", f"{peak_mb:.0f}", f"{datetime.now():%Y-%m-%dT%H:%M:%S}")
        lines = [row] if os.fstat(stream.fileno()).st_size else [HEADER, row]
        stream.write("".join("\t".join(line) + "\n" for line in lines))
