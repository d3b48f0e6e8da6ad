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
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from zipperasr.cli import log
from zipperasr.train.interruption import TRY_AGAIN


def main(argv: list[str] | None = None) -> int:
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        run.main(argv)
    except ChildFailedError as error:
        killed = {rank: failure.exitcode for rank, failure in error.failures.items() if failure.exitcode < 0}
        if not killed:
            return error.get_first_failure()[1].exitcode
        rank, code = next(iter(killed.items()))
        log(f"rank {rank} was killed by {signal.Signals(-code).name}")
        return 128 - code
    except SignalException:
        return TRY_AGAIN
    return 0


if __name__ == "__main__":
    sys.exit(main())
