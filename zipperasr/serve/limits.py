"""What one request may take, and how many may wait."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of the service."""

    max_mb: float = 25.0  # of an upload, in 2^20 bytes; OpenAI's bound
    max_s: float = 600.0  # of a recording; decoded, a second takes 64 kB of memory
    timeout_s: float = 600.0  # from the request's start to its answer
    read_timeout_s: float = 20.0  # for the headers, and for every `MIN_BYTES_PER_S` times as many bytes of the body
    max_waiting: int = 8  # requests beside the one at work

    def __post_init__(self) -> None:
        for name in ("max_mb", "max_s", "timeout_s", "read_timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"--{name}: got {getattr(self, name)}, wanted more than 0, and not infinite")
        if self.max_waiting < 0:
            raise ValueError(f"--max_waiting: got {self.max_waiting}, wanted 0 or more")

    @property
    def max_bytes(self) -> int:
        return int(self.max_mb * 2**20)
