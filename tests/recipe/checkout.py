"""A copy of the project's code, as a fresh checkout has it, which a test may change and run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import yaml

OF_A_RECIPE = ("asr.sh", "path.sh", "cmd.sh", "utils", "run.sh", "conf", "local")  # but no outputs of a run


def copy_checkout(root: Path, target: Path) -> Path:
    """Copy utils/, zipperasr/ and the recipes of the project in `root`; returns the mini scale's configuration."""
    made = shutil.ignore_patterns("__pycache__")
    for name in ("utils", "zipperasr", "egs2/TEMPLATE"):
        shutil.copytree(root / name, target / name, symlinks=True, ignore=made)
    (target / "egs2/zipper12/asr1").mkdir(parents=True)
    for name in OF_A_RECIPE:
        subprocess.run(["cp", "-a", root / "egs2/zipper12/asr1" / name, target / "egs2/zipper12/asr1"], check=True)
    return target / "egs2/zipper12/asr1/conf/mini"


def edit(path: Path, **values: object) -> None:
    """Change settings of a YAML file."""
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**tree, **values}), encoding="utf-8")
