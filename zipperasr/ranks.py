"""The rank of this process, as the launcher sets it, before the ranks have joined."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from zipperasr.cli import log


def is_first_rank() -> bool:
    """Whether this process is rank 0 or runs alone."""
    return os.environ.get("RANK", "0") == "0"


def log_once(message: str) -> None:
    """Log on rank 0 only."""
    if is_first_rank():
        log(message)


def cores_of_rank() -> int:
    """Number of CPU cores for this process if the ranks on this machine share them equally; at least 1.

    The number of ranks comes from torchrun or DeepSpeed's launcher.
    """
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or 1)
    return max(1, (os.cpu_count() or 1) // ranks)


@contextlib.contextmanager
def rank_0_reports() -> Iterator[None]:
    """Context of a check that fails on all ranks alike: rank 0 raises the error, the others exit with status 1."""
    try:
        yield
    except (ValueError, OSError):
        if not is_first_rank():
            raise SystemExit(1) from None
        raise
