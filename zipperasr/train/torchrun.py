"""torchrun without its traceback, which would bury the one-line error of the rank that failed.

In: torchrun's options and a module. Out: the exit status of the first rank that failed, or 0. A rank killed by a signal
is reported and counts as the first, since the others fail as a consequence. SIGTERM is forwarded to the ranks, which
save a checkpoint; their exit status, `TRY_AGAIN`, is returned.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from types import FrameType

import psutil
from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from zipperasr.cli import log

# No SIGTERM, which _forward handles: torchrun would kill ranks that take more than 30 s to save, and on a second signal
# all ranks at once.
OWN_SIGNALS = ("--signals-to-handle", "SIGINT,SIGHUP,SIGQUIT")
END_AFTER_S = 30  # from torchrun's SIGTERM to the other ranks until its SIGKILL


def main(argv: list[str] | None = None) -> int:
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, _forward)
    try:
        run.main([*OWN_SIGNALS, *(sys.argv[1:] if argv is None else argv)])
    except ChildFailedError as error:
        rank, failure = _cause(error)
        if failure.exitcode > 0:
            return failure.exitcode
        log(f"rank {rank} was killed by {signal.Signals(-failure.exitcode).name}")
        return 128 - failure.exitcode
    except SignalException as error:
        return 128 + error.sigval
    return 0


def _forward(number: int, frame: FrameType | None) -> None:
    for rank in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            rank.send_signal(number)


def _cause(error: ChildFailedError) -> tuple[int, ProcessFailure]:
    """The rank that failed first, and its failure. torchrun ends the others by SIGTERM, and by SIGKILL 30 s later."""
    first = error.get_first_failure()
    for rank, failure in error.failures.items():
        killed = failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM
        if killed and failure.timestamp - first[1].timestamp < END_AFTER_S:
            return rank, failure
    return first


if __name__ == "__main__":
    sys.exit(main())
