"""The machine and the package versions of a measurement.

Imports only the standard library and `zipperasr.markdown`, since benchmarks use it where little else is installed.
"""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from zipperasr.markdown import table

PACKAGES = ("torch", "deepspeed", "transformers", "peft", "espnet", "kaldiio", "sentencepiece", "soundfile")
PACKAGES += ("numpy", "pyarrow", "jiwer", "whisper-normalizer", "matplotlib")


def device() -> dict[str, str]:
    """Processor, cores this process may use, memory, accelerator."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "CPU": _first("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": str(cores),
        "RAM": _memory(),
        "GPU": _gpus(),
        "system": platform.platform(terse=True),
    }


def versions() -> dict[str, str]:
    """Python and the packages that the results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine_table() -> str:
    return table(["what", "which"], [*device().items(), *versions().items()], num_labels=2)


def _first(path: str, key: str) -> str:
    if not Path(path).is_file():
        return ""
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _memory() -> str:
    kilobytes = _first("/proc/meminfo", "MemTotal").split()
    return f"{int(kilobytes[0]) / 2**20:.0f} GiB" if kilobytes else "unknown"


def _gpus() -> str:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(names) or "none"
