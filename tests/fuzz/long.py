"""Fuzz every reader for a given time: python -m tests.fuzz --minutes 30.

Output: a table on stdout, and each fault with the file that caused it below --out. A fault is a traceback, a response
that takes longer than 5 s, or an error that is not one line of at most 500 characters. The exit status is 1 if there
is any. Mutant N of a target depends only on --seed, the target's name and N.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random

from tests.fuzz.targets import Target, all_targets
from zipperasr.cli import LONGEST_ERROR, parser, run_step

HANG_S = 5.0
WORKER_MEMORY = 12 << 30  # bytes of address space
_KEPT = 20  # files kept per target


@dataclass(frozen=True)
class Outcome:
    """The result of one mutant."""

    target: str
    number: int
    refused: bool = False
    seconds: float = 0.0
    message: str = ""  # text of the error
    fault: str = ""  # what went wrong, in one line
    details: str = ""


@dataclass(frozen=True)
class Plan:
    """What is fuzzed and for how long."""

    minutes: float
    seed: int = 1
    only: str = ""  # regular expression for the names of targets
    workers: int = 2
    slice_s: float = 0.5  # time per target before the next one's turn
    rounds: int = 0  # rounds of each worker through all targets; 0: until the time is up


def try_mutant(target: Target, seed: int, number: int) -> Outcome:
    """Mutate one file, read it and restore it."""
    random = Random(f"{seed} {target.name} {number}")
    path = target.files[random.randrange(len(target.files))]
    good = path.read_bytes()
    errors, status, fault, details = io.StringIO(), 0, "", ""
    path.write_bytes(target.mutate(good, random))
    start = time.monotonic()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
            status = run_step(lambda _: target.read(), None, "fuzz")
    except (Exception, SystemExit) as error:
        fault, details = f"{type(error).__name__}: {error}", traceback.format_exc()
    seconds = time.monotonic() - start
    message = "\n".join(line for line in errors.getvalue().splitlines() if line.startswith("fuzz: error:"))
    if not fault:
        fault, details = _fault(status, message, seconds), errors.getvalue()
    if fault:
        details += f"\n{path}\n{path.read_bytes()[:2000]!r}"
    path.write_bytes(good)
    return Outcome(target.name, number, status != 0, seconds, message, " ".join(fault.split())[:300], details)


def _fault(status: int, message: str, seconds: float) -> str:
    if seconds > HANG_S:
        return f"took {seconds:.1f} s"
    if status and ("\n" in message or not message):
        return "the error is not one line"
    if len(message) > LONGEST_ERROR:
        return f"the error has {len(message)} characters"
    return ""


def _work(base: Path, plan: Plan, numbers: _Numbers, answers: Connection) -> None:
    """Loop of a worker process: announce a mutant, try it, report the outcome; None after the last round."""
    resource.setrlimit(resource.RLIMIT_AS, (WORKER_MEMORY, WORKER_MEMORY))
    os.environ["XDG_CACHE_HOME"] = str(base / "cache")
    targets = [target for target in all_targets(base) if re.search(plan.only, target.name)]
    for _ in range(plan.rounds) if plan.rounds else itertools.count():
        for target in targets:
            end = time.monotonic() + plan.slice_s
            while True:
                number = next(numbers)
                answers.send((target.name, number))
                answers.send(try_mutant(target, plan.seed, number))
                if time.monotonic() >= end:
                    break
    answers.send(None)


class Worker:
    """A monitored worker process; one that hangs is replaced."""

    def __init__(self, base: Path, plan: Plan, first: int):
        self._base, self._plan = base, plan
        self._next, self._doing, self.done = first, None, False
        self._start()

    def _start(self) -> None:
        shutil.rmtree(self._base, ignore_errors=True)
        self._base.mkdir(parents=True)
        context = multiprocessing.get_context("spawn")
        self.answers, theirs = context.Pipe(duplex=False)
        arguments = (self._base, self._plan, _Numbers(self._next, self._plan.workers), theirs)
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._since = time.monotonic() + 120  # time to create the files

    def outcomes(self) -> Iterator[Outcome]:
        """Return the outcomes since the last call."""
        while self.answers.poll():
            try:
                answer = self.answers.recv()
            except EOFError:
                break
            self._since = time.monotonic()
            if answer is None:
                self.done = True
                return
            if isinstance(answer, Outcome):
                self._doing = None
                yield answer
            else:
                self._doing = answer
                self._next = answer[1] + self._plan.workers
        hangs = time.monotonic() - self._since > 2 * HANG_S
        if hangs or not self._process.is_alive():
            if self._doing is None:
                raise RuntimeError(
                    f"the worker process exited between two mutants with status {self._process.exitcode}"
                )
            name, number = self._doing
            fault = "hangs" if hangs else f"the process exited with status {self._process.exitcode}"
            yield Outcome(name, number, fault=fault)
            self.stop()
            self._start()

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


class _Numbers:
    """The numbers first, first + step, ...; the counter can be passed to another process."""

    def __init__(self, first: int, step: int):
        self._next, self._step = first, step

    def __next__(self) -> int:
        number, self._next = self._next, self._next + self._step
        return number


class Report:
    """Counts per target, and the faults."""

    def __init__(self, out: Path):
        self._out = out
        self.mutants, self.refused, self.faults = Counter(), Counter(), Counter()
        self.slowest, self.longest = Counter(), Counter()

    def add(self, outcome: Outcome) -> None:
        name = outcome.target
        self.mutants[name] += 1
        self.refused[name] += outcome.refused
        self.slowest[name] = max(self.slowest[name], outcome.seconds)
        self.longest[name] = max(self.longest[name], len(outcome.message))
        if outcome.fault:
            self.faults[name] += 1
            print(f"FAULT {name} {outcome.number}: {outcome.fault}", file=sys.stderr, flush=True)
            if self.faults[name] <= _KEPT:
                self._out.mkdir(parents=True, exist_ok=True)
                file = self._out / f"{name.replace(' ', '_').replace('/', '_')}.{outcome.number}.txt"
                file.write_text(f"{outcome.fault}\n{outcome.message}\n{outcome.details}", errors="backslashreplace")

    def table(self) -> str:
        """Markdown."""
        lines = [
            "| target | mutants | accepted | rejected | slowest s | longest error | faults |",
            "|---|" + "---:|" * 6,
        ]
        for name in (*self.mutants, None):
            one = lambda counts, name=name: counts[name] if name else sum(counts.values())  # noqa: E731
            most = lambda counts, name=name: counts[name] if name else max(counts.values(), default=0)  # noqa: E731
            lines.append(
                f"| {name or 'all'} | {one(self.mutants):,} | {one(self.mutants) - one(self.refused):,} | "
                f"{one(self.refused):,} | {most(self.slowest):.2f} | {most(self.longest)} | {one(self.faults)} |"
            )
        return "\n".join(lines)


def fuzz(plan: Plan, out: Path) -> Report:
    """Fuzz until the time is up or all rounds are finished."""
    report, end = Report(out), time.monotonic() + 60 * plan.minutes
    with tempfile.TemporaryDirectory() as scratch:
        running = [Worker(Path(scratch) / str(number), plan, number) for number in range(plan.workers)]
        try:
            while time.monotonic() < end and not all(worker.done for worker in running):
                wait([worker.answers for worker in running if not worker.done], timeout=1)
                for worker in running:
                    for outcome in () if worker.done else worker.outcomes():
                        report.add(outcome)
        finally:
            for worker in running:
                worker.stop()
    return report


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--minutes", type=float, default=1.0, help="duration in minutes")
    options.add_argument("--seed", type=int, default=1, help="random seed")
    options.add_argument("--only", default="", help="regular expression for the names of the targets to fuzz")
    options.add_argument("--workers", type=int, default=2, help="processes")
    options.add_argument(
        "--out", type=Path, default=Path("fuzz_faults"), help="directory for files that caused a fault"
    )
    chosen = options.parse_args(argv)
    report = fuzz(Plan(chosen.minutes, chosen.seed, chosen.only, chosen.workers), chosen.out)
    print(report.table())
    return 1 if report.faults else 0
