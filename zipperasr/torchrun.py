"""torchrun, without its own traceback after a rank has said in one line what is wrong.

In: torchrun's options and a module. Out: the exit status of the first rank that failed, or 0. Asked to stop (SIGTERM),
it hands that on to the ranks, which save a checkpoint, and exits with their status, `TRY_AGAIN`.
"""

from __future__ import annotations

import logging
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from zipperasr.train.interruption import TRY_AGAIN


def main(argv: list[str] | None = None) -> int:
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        run.main(argv)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except SignalException:
        return TRY_AGAIN
    return 0


if __name__ == "__main__":
    sys.exit(main())
