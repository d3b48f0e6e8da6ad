"""Limits for a request and for the queue."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of the service; each field is an option of `zipperasr serve`."""

    max_mb: float = 25.0  # of an upload, in 2^20 bytes; OpenAI's limit
    max_s: float = 600.0  # of a recording; decoded, a second takes 64 kB of memory
    timeout_s: float = 600.0  # from the request's start to its answer
    read_timeout_s: float = 20.0  # for the headers, and for each `read_timeout_s * MIN_BYTES_PER_S` bytes of the body
    max_running: int = 32  # requests that share batches
    max_waiting: int = 64  # requests in the queue, in addition to those
    grace_s: int = 10  # for running requests when the server stops
    max_streams: int = 16  # open at the same time; each is one of the requests above, but never the last one
    idle_s: float = 60.0  # in which a stream has to receive a tenth as much audio

    def __post_init__(self) -> None:
        for name in ("max_mb", "max_s", "timeout_s", "read_timeout_s", "idle_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"--{name}: got {getattr(self, name)}, wanted a finite number above 0")
        for name, least in (("max_running", 1), ("max_waiting", 0), ("grace_s", 0), ("max_streams", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name}: got {getattr(self, name)}, wanted {least} or more")

    @property
    def max_held(self) -> int:
        """Requests that are processed or wait."""
        return self.max_running + self.max_waiting

    @property
    def max_bytes(self) -> int:
        return int(self.max_mb * 2**20)
