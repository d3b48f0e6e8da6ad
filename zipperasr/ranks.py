"""The rank of this process, as the launcher sets it, before the ranks have joined."""

from __future__ import annotations

import os

from zipperasr.cli import log


def is_first_rank() -> bool:
    """Whether this process is rank 0 or runs alone."""
    return os.environ.get("RANK", "0") == "0"


def log_once(message: str) -> None:
    """Log on rank 0 only."""
    if is_first_rank():
        log(message)
