"""Training processes that start with their modules loaded, which takes longer than a tiny training.

They are forked by multiprocessing's fork server, and otherwise like processes of their own: they have a process id,
receive signals and write to a log.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TIMEOUT_S = 120
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}


class WarmTraining:
    """`python -m zipperasr.stages.train ARGUMENTS >>LOG 2>&1`, with the methods of subprocess.Popen."""

    def __init__(self, arguments: Sequence[str], log: Path):
        context = multiprocessing.get_context("forkserver")
        before = {name: os.environ.get(name) for name in ENVIRONMENT}
        os.environ.update(ENVIRONMENT)  # the server inherits it when it starts
        try:
            context.set_forkserver_preload(["tests.train.preload"])
            self._process = context.Process(target=_train, args=(list(arguments), str(log)))
            self._process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float = TIMEOUT_S) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("zipperasr.stages.train", timeout)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


def _train(arguments: list[str], log: str) -> None:
    from zipperasr.stages.train import main

    os.setsid()
    with open(log, "a") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    os.chdir(Path(__file__).resolve().parents[2])
    sys.exit(main(arguments))
