"""torchrun, without its own traceback after a rank has said in one line what is wrong.

In: torchrun's options and a module. Out: the exit status of the first rank that failed, or 0; a rank killed by a signal
is named and counts as the first, because its peers fail only since it is gone. SIGTERM is handed on to the ranks,
which save a checkpoint; their status, `TRY_AGAIN`, becomes the exit status.
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

# On SIGTERM torchrun would kill ranks that still save after 30 s, and at once if the signal comes twice: see _hand_on.
OWN_SIGNALS = ("--signals-to-handle", "SIGINT,SIGHUP,SIGQUIT")
END_AFTER_S = 30  # torchrun's patience with ranks that it has asked to stop


def main(argv: list[str] | None = None) -> int:
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, _hand_on)
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


def _hand_on(number: int, frame: FrameType | None) -> None:
    for rank in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            rank.send_signal(number)


def _cause(error: ChildFailedError) -> tuple[int, ProcessFailure]:
    """The rank that failed first, and how. torchrun ends the others itself: by SIGTERM, 30 s later by SIGKILL."""
    first = error.get_first_failure()
    for rank, failure in error.failures.items():
        killed = failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM
        if killed and failure.timestamp - first[1].timestamp < END_AFTER_S:
            return rank, failure
    return first


if __name__ == "__main__":
    sys.exit(main())
