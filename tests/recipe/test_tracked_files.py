"""Running the recipe changes no tracked file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

RECIPE = "egs2/zipper12/asr1"
WRITTEN = (
    *("data", "data_30h", "dump", "dump_full", "exp", "exp_rehearsal", "downloads", "report_audio"),
    *("RESULTS.md", "RESULTS.tsv", "CLAIMS.md", "report.html", ".RESULTS.md.lock"),
)


@pytest.mark.parametrize("name", WRITTEN)
def test_outputs_of_a_run_are_ignored_by_git(root: Path, name):
    done = subprocess.run(["git", "check-ignore", "-q", f"{RECIPE}/{name}/x"], cwd=root)
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.returncode == 0


def test_only_make_times_writes_the_benchmark_page(root: Path):
    """The recipe's RESULTS.md has the stage times of every run."""
    rules = dict(re.findall(r"^([\w-]+):.*\n((?:\t.*\n)+)", (root / "Makefile").read_text(encoding="utf-8"), re.M))
    assert "benchmarks/make_run.md" in rules["times"]
    assert [name for name, commands in rules.items() if "--benchmark" in commands] == ["times"]
    assert "benchmarks/" not in "".join(
        (root / "egs2" / path).read_text(encoding="utf-8") for path in ("TEMPLATE/asr1/asr.sh", "zipper12/asr1/run.sh")
    )
