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


@contextlib.contextmanager
def rank_0_reports() -> Iterator[None]:
    """Context of a check that fails on all ranks alike: rank 0 raises the error, the others exit with status 1."""
    try:
        yield
    except (ValueError, OSError):
        if not is_first_rank():
            raise SystemExit(1) from None
        raise
