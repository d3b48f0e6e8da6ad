"""The GPUs that the dry run knows, by their makers' data sheets."""

from __future__ import annotations

from dataclasses import dataclass

from zipperasr.train.throughput import PEAK_BF16_TFLOPS


@dataclass(frozen=True)
class Gpu:
    """One card. tflops: dense bfloat16 products at best, in TFLOP/s."""

    name: str
    tflops: float
    memory_gib: float


GPUS = {
    "a800": Gpu("A800", PEAK_BF16_TFLOPS["A800"], 80.0),  # the paper's
    "a100": Gpu("A100", PEAK_BF16_TFLOPS["A100"], 80.0),
    "h100": Gpu("H100 SXM", PEAK_BF16_TFLOPS["H100"], 80.0),
    "h200": Gpu("H200", PEAK_BF16_TFLOPS["H200"], 141.0),
}
