"""The installers select a Python and report in one line what is missing. These tests download nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def tool(root):
    def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [root / "tools" / script, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
        )

    return run


def only_with(folder: Path, **tools: str) -> str:
    """A PATH with the standard tools and the given scripts."""
    for name in ("bash", "env", "dirname", "date", "mktemp", "rm"):
        (folder / name).symlink_to(subprocess.check_output(["which", name], text=True).strip())
    for name, script in tools.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return str(folder)


def test_the_requested_python_is_used(tool):
    assert tool("find_python.sh", PYTHON=sys.executable).stdout.strip() == sys.executable


def test_a_python_that_is_too_old_or_missing_is_an_error(tool, tmp_path):
    path = only_with(tmp_path, old="exit 1")
    for python in ("old", "no-such-python"):
        done = tool("find_python.sh", PATH=path, PYTHON=python)
        assert done.returncode == 1
        assert f"PYTHON={python}: wanted Python 3.10 to 3.13" in done.stderr


def test_without_any_python_the_error_says_what_to_install(tool, tmp_path):
    done = tool("find_python.sh", PATH=only_with(tmp_path), PYTHON="")
    assert done.returncode == 1
    assert "found no Python 3.10 to 3.13; install one" in done.stderr


def test_for_a_python_without_venv_and_pip_the_error_names_the_debian_package(tool, tmp_path):
    done = tool("make_venv.sh", "bare", str(tmp_path / "venv"), PATH=only_with(tmp_path, bare="exit 1"))
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr


def test_a_venv_is_created_with_pip(tool, tmp_path):
    assert tool("make_venv.sh", sys.executable, str(tmp_path / "venv")).returncode == 0
    assert (tmp_path / "venv" / "bin" / "pip").exists()


def test_sctk_is_not_built_without_a_compiler(tool, tmp_path):
    done = tool("install_sctk.sh", PATH=only_with(tmp_path))
    assert done.returncode == 1
    assert "git is missing; on Debian or Ubuntu, apt-get install build-essential git" in done.stderr


def sctk_package(folder: Path, prints: str) -> Path:
    """A Debian package whose sclite prints one line."""
    program = folder / "content" / "usr" / "lib" / "sctk" / "bin" / "sclite"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{prints}'\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    control = folder / "content" / "DEBIAN" / "control"
    control.parent.mkdir()
    fields = {"Package": "sctk", "Version": "1", "Architecture": "all", "Maintainer": "none", "Description": "sclite"}
    control.write_text("".join(f"{name}: {value}\n" for name, value in fields.items()), encoding="utf-8")
    subprocess.run(["dpkg-deb", "--build", folder / "content", folder / "sctk_1_all.deb"], check=True)
    return folder / "sctk_1_all.deb"


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb on PATH: apt-get install dpkg")
@pytest.mark.parametrize(("prints", "works"), [("sclite Version: 2.10", True), ("cannot start", False)])
def test_sctk_is_unpacked_from_the_debian_package_if_it_runs(root, tmp_path, prints, works):
    package = sctk_package(tmp_path, prints)
    for name in ("tools/install_sctk.sh", "utils/log.sh"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(root / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for program in ("dpkg-deb", "mv", "tar"):
        (tmp_path / "bin" / program).symlink_to(shutil.which(program))
    path = only_with(tmp_path / "bin", **{"apt-get": f'[[ $* == "download sctk" ]] && cp {package} .'})
    (tmp_path / "bin" / "cp").symlink_to(shutil.which("cp"))
    command = [tmp_path / "tools" / "install_sctk.sh"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert (done.returncode == 0) is works
    assert (tmp_path / "tools" / "sctk" / "bin" / "sclite").exists() is works
    assert ("sctk/bin/sclite is ready" if works else "git is missing") in done.stderr
    assert not list((tmp_path / "tools").glob("sctk.*[!g]"))


def test_without_the_vocabularies_set_up_continues_with_one_line(tool, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    done = tool("install_vocabularies.sh", str(tmp_path / "venv" / "bin" / "python"))
    assert done.returncode == 0
    assert "tests are skipped; pip says: " in done.stderr.splitlines()[-1]
    assert "No module named pip" in done.stderr.splitlines()[-1]
    assert len(done.stderr.splitlines()) == 2
