"""Stop a training on SIGTERM (Slurm preemption, a time limit, `kill`) without losing work.

In: SIGTERM to any rank or launcher. Out: all ranks stop after the same step, save a checkpoint and exit with status
`TRY_AGAIN`, upon which utils/slurm.sh requeues the job. Loader processes ignore the signal, since the current step
still needs their batches.
"""

from __future__ import annotations

import signal
from types import FrameType

import torch
from torch import distributed

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: temporary failure, retry later
SIGNALS = (signal.SIGTERM,)


class Interrupted(Exception):
    """Training was interrupted after `step` steps, which are saved."""

    def __init__(self, step: int):
        super().__init__(f"interrupted after step {step}; run the same command to resume")
        self.step = step


class Interruption:
    """Context manager that records SIGTERM. All ranks enter it together."""

    def __init__(self):
        self._asked = False
        self._group: distributed.ProcessGroup | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        if distributed.get_world_size() > 1:
            self._group = distributed.new_group(backend="gloo")  # with NCCL, the host would wait for the GPU
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._group is not None:
            distributed.destroy_process_group(self._group)

    def wanted(self) -> bool:
        """True on all ranks if any rank received the signal. A collective operation: all ranks must call it.

        A signal that arrives during this call counts at the next call, so that no rank acts alone.
        """
        asked = torch.tensor([self._asked], dtype=torch.uint8)
        if self._group is not None:
            distributed.all_reduce(asked, op=distributed.ReduceOp.MAX, group=self._group)
        return bool(asked.item())

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True


def ignore_in_worker(_: int) -> None:
    """worker_init_fn of a DataLoader: Slurm sends the signal to all processes, but only the main process acts on it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
