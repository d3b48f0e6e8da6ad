"""Being asked to stop: Slurm's preemption, a time limit, `kill`.

In: SIGTERM to any rank or launcher. Out: all ranks learn of it between two steps, save a checkpoint and exit with
`TRY_AGAIN`, on which utils/slurm.sh requeues the job. Loader processes do not listen: batches must come until then.
"""

from __future__ import annotations

import signal
from types import FrameType

import torch
from torch import distributed

TRY_AGAIN = 75  # sysexits.h: EX_TEMPFAIL, the user is invited to retry
SIGNALS = (signal.SIGTERM,)


class Interrupted(Exception):
    """A training was asked to stop, and has saved `step` steps."""

    def __init__(self, step: int):
        super().__init__(f"stopped as asked after step {step}; the same command goes on from there")
        self.step = step


class Interruption:
    """Listens while it is entered; all ranks enter it together."""

    def __init__(self):
        self._asked = False
        self._group: distributed.ProcessGroup | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        if distributed.get_world_size() > 1:
            self._group = distributed.new_group(backend="gloo")  # over NCCL the answer would wait for the GPU
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._group is not None:
            distributed.destroy_process_group(self._group)

    def wanted(self) -> bool:
        """True on all ranks if any was asked; all must call it as often.

        A signal that comes while the ranks agree counts next time: a rank must not act on what it alone knows.
        """
        asked = torch.tensor([self._asked], dtype=torch.uint8)
        if self._group is not None:
            distributed.all_reduce(asked, op=distributed.ReduceOp.MAX, group=self._group)
        return bool(asked.item())

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True


def ignore_in_worker(_: int) -> None:
    """For a DataLoader's worker_init_fn: the signal goes to all processes of a job, and the main one decides."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
