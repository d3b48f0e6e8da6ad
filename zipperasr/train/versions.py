"""Versions and command of a run, stored beside its weights."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from zipperasr.atomic import atomic_path

PACKAGES = ("torch", "transformers", "deepspeed", "peft", "numpy", "kaldiio", "sentencepiece", "espnet", "jiwer")


def write_versions(path: Path) -> None:
    """Write {python, machine, command, package: version}; a package that is not installed is null."""
    record = {"python": platform.python_version(), "machine": platform.machine(), "command": sys.argv}
    for name in PACKAGES:
        try:
            record[name] = version(name)
        except PackageNotFoundError:
            record[name] = None
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
