"""torchrun, without its own traceback after a rank has said in one line what is wrong.

In: torchrun's options and a module. Out: the exit status of the first rank that failed, or 0; a rank killed by a signal
is named and counts as the first, because its peers fail only since it is gone. Asked to stop (SIGTERM), it hands that
on to the ranks, which save a checkpoint, and exits with their status, `TRY_AGAIN`.
"""

from __future__ import annotations

import logging
import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from zipperasr.cli import log
from zipperasr.train.interruption import TRY_AGAIN

END_AFTER_S = 30  # torchrun's patience with ranks that it has asked to stop


def main(argv: list[str] | None = None) -> int:
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        run.main(argv)
    except ChildFailedError as error:
        rank, failure = _cause(error)
        if failure.exitcode > 0:
            return failure.exitcode
        log(f"rank {rank} was killed by {signal.Signals(-failure.exitcode).name}")
        return 128 - failure.exitcode
    except SignalException:
        return TRY_AGAIN
    return 0


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
