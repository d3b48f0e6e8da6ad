"""The GPUs that the dry run knows, by their makers' data sheets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One card. tflops: dense bfloat16 products at best, in TFLOP/s."""

    name: str
    tflops: float
    memory_gib: float


GPUS = {
    "a800": Gpu("A800", 312.0, 80.0),  # the paper's
    "a100": Gpu("A100", 312.0, 80.0),
    "h100": Gpu("H100 SXM", 989.0, 80.0),
    "h200": Gpu("H200", 989.0, 141.0),
}
