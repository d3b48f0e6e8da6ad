"""Run the real sclite, if it is installed, and ours in the same process; return what they print and write."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zipperasr.score.sclite.__main__ import main

ROOT = Path(__file__).parents[3]
PLACES = (Path("/usr/lib/sctk/bin/sclite"), ROOT / "tools" / "sctk" / "bin" / "sclite")
SCLITE = next((str(place) for place in PLACES if place.is_file()), shutil.which("sclite"))
needs_sclite = pytest.mark.skipif(SCLITE is None, reason="no sclite to compare with; run tools/install_sctk.sh")

Output = tuple[bytes, dict[str, bytes]]  # stdout, files by name


def run_real(argv: list[str], cwd: Path) -> Output:
    """Run NIST's sclite in a copy of `cwd`."""
    cwd = Path(shutil.copytree(cwd, cwd.with_name(f"{cwd.name}.real")))
    before = set(cwd.rglob("*"))
    done = subprocess.run([SCLITE, *argv], cwd=cwd, capture_output=True, check=True, timeout=60)
    return done.stdout, _new_files(cwd, before)


def run_ours(argv: list[str], cwd: Path, monkeypatch: pytest.MonkeyPatch) -> Output:
    """Run ours in a copy of `cwd`."""
    cwd = Path(shutil.copytree(cwd, cwd.with_name(f"{cwd.name}.ours")))
    before, home = set(cwd.rglob("*")), os.getcwd()
    stdout = io.TextIOWrapper(io.BytesIO())
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        patch.chdir(cwd)
        assert main(argv) == 0
    assert os.getcwd() == home
    return stdout.buffer.getvalue(), _new_files(cwd, before)


def _new_files(cwd: Path, before: set[Path]) -> dict[str, bytes]:
    new = sorted(path for path in set(cwd.rglob("*")) - before if path.is_file())
    return {str(path.relative_to(cwd)): path.read_bytes() for path in new}
