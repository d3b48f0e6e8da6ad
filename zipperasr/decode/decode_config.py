"""How hypotheses are found, as conf/*/decode.yaml says it. All of it is ours: the paper names no decoding settings."""

from __future__ import annotations

from dataclasses import dataclass

from zipperasr.cli import nearest
from zipperasr.ranges import COUNT, NOT_NEGATIVE, Range, check_ranges

PRECISIONS = ("fp32", "bf16")
RANGES = {
    **dict.fromkeys(("beam", "batch_positions", "batch_size"), COUNT),
    **dict.fromkeys(("tokens_per_s", "tokens_floor"), NOT_NEGATIVE),
    "length_penalty": Range(),
}


@dataclass(frozen=True)
class DecodeConfig:
    """One decoding."""

    beam: int = 1  # 1: greedy
    batch_positions: int = 2048  # prompt and speech positions per batch, padding included
    batch_size: int = 16  # utterances per batch at most
    tokens_per_s: float = 12.0  # longest transcript, by the audio: tokens per second ...
    tokens_floor: int = 16  # ... and this many more
    length_penalty: float = 1.0  # beam search only
    retry_loops: bool = False  # greedy: decode again, without repetition, what ran in circles to its bound
    precision: str = "fp32"  # fp32 | bf16

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision: unknown value {self.precision!r}; {nearest(self.precision, PRECISIONS)}")
        check_ranges(self, RANGES)

    @property
    def name(self) -> str:
        return "greedy" if self.beam == 1 else f"beam{self.beam}"
