"""Current and peak memory: of torch's allocator on a GPU, of the process (resident set size) on a CPU."""

from __future__ import annotations

import gc
from pathlib import Path

import torch


def reset_peak(device: str) -> float:
    """Reset the peak. Returns the memory in use, in GB."""
    gc.collect()  # reference cycles may keep a model that is no longer used
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e9
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status_gb("VmRSS")


def peak_gb(device: str) -> float:
    """Peak memory since the last `reset_peak`, in GB."""
    return torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else _status_gb("VmHWM")


def _status_gb(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e9
