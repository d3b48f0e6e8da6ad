"""tools/check_install.py reports which components work, and fails if a required one does not."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def tool(root):
    spec = importlib.util.spec_from_file_location("check_install", root / "tools" / "check_install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def broken() -> str:
    raise RuntimeError("two\nlines")


def test_a_working_component_shows_version_and_remark(tool):
    good, line = tool.row(tool.Check("numbers", "numpy", lambda: "fine"))
    assert good
    assert line.split() == ["numbers", tool.installed_version("numpy"), "yes", "fine"]


def test_a_broken_required_component_fails(tool, monkeypatch, capsys):
    good, line = tool.row(tool.Check("thing", "no-such-package", broken))
    assert not good
    assert line.split(maxsplit=3) == ["thing", "-", "NO", "RuntimeError: two lines"]
    monkeypatch.setattr(tool, "CHECKS", [tool.Check("thing", "", broken)])
    assert tool.main() == 1
    assert "check_install: error: thing failed" in capsys.readouterr().err


def test_a_broken_optional_component_does_not_fail(tool):
    good, line = tool.row(tool.Check("extra", "", broken, required=False))
    assert good
    assert "no (optional)" in line


def test_every_check_has_its_own_name_and_a_known_package(tool):
    names = [check.name for check in tool.CHECKS]
    assert len(set(names)) == len(names) > 15
    missing = [check.package for check in tool.CHECKS if check.package and tool.installed_version(check.package) == "-"]
    assert missing == []


@pytest.mark.parametrize(
    "name", ["soundfile flac", "soundfile mp3", "soundfile opus", "kaldiio", "pyarrow", "espeak-ng"]
)
def test_light_components_work_here(tool, name):
    (check,) = [check for check in tool.CHECKS if check.name == name]
    good, line = tool.row(check)
    assert good, line


def test_two_ranks_take_the_correct_step(root):
    """DeepSpeed's ZeRO-2 over gloo, as the set-up checks it, works without a compiler."""
    environment = {**os.environ, "PYTHONPATH": str(root), "CC": "false", "CXX": "false"}
    done = subprocess.run(
        [sys.executable, root / "tools" / "deepspeed_step.py"], capture_output=True, text=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == "ZeRO-2 step of 2 gloo ranks is exact", done.stderr
