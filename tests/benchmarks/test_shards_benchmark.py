"""benchmarks/shards.py at a tiny size: stage 2 as one job and as two; the command of stage 7."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.prepare.example import Recipe


@pytest.fixture
def shards(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "benchmarks")
    monkeypatch.delitem(sys.modules, "shards", raising=False)
    import shards

    return shards


def test_stage_2_gives_the_same_files_as_two_jobs(root, tmp_path):
    recipe = Recipe(tmp_path)
    recipe.write_mls(0.2)
    assert recipe.prepare() == 0
    page = tmp_path / "RESULTS.md"
    options = ["--recipe", tmp_path, "--stages", "2", "--rounds", "1", "--work", tmp_path, "--results", page]
    command = [sys.executable, root / "benchmarks" / "shards.py", *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert "## Stages as parallel jobs" in text and "\n| 2 | " in text
    assert not list(tmp_path.glob("tmp*"))


def test_stage_7_decodes_with_a_copy_of_the_model_without_its_decodings(shards, tmp_path):
    for name in ("config.yaml", "decode_greedy_chunked/test_x/text"):
        (tmp_path / "exp" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "exp" / name).touch()
    names = {"recipe": tmp_path, "exp": Path("exp"), "config": "c", "manifest": "m", "languages": "l"}
    words = shards.command("7", argparse.Namespace(**names), tmp_path / "out")
    assert words[:3] == ["zipperasr.stages.decode", "--exp", str(tmp_path / "out")]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.yaml"]


def test_files_with_times_are_not_compared(shards, tmp_path):
    for name in ("text", "rtf.json", "run.json", ".outputs.json"):
        (tmp_path / name).write_text(name)
    assert list(shards.digests(tmp_path)) == ["text"]
