"""Memory in use and at its peak: the allocator's count on a GPU, this process's resident set on a CPU."""

from __future__ import annotations

import gc
from pathlib import Path

import torch


def reset_peak(device: str) -> float:
    """Start a new peak; returns the GB in use now."""
    gc.collect()  # a model that is no longer used may be kept by reference cycles
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e9
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status_gb("VmRSS")


def peak_gb(device: str) -> float:
    """The most GB in use since the last `reset_peak`."""
    return torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else _status_gb("VmHWM")


def _status_gb(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e9
