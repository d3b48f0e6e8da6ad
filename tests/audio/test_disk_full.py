"""A disk that fills up in a data stage: a one-line error, no partial files; with more space, the stage resumes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.prepare.example import TRAIN_IDS, Recipe
from zipperasr.datadir.read import read_data_dir
from zipperasr.stages import format_audio


@pytest.fixture
def small_disk(tmp_path: Path):
    """Mounts a tmpfs; `resize` changes its size."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(*options: str) -> subprocess.CompletedProcess:
        return subprocess.run(["mount", *options, "tmpfs", str(disk)], capture_output=True, text=True, check=False)

    mounted = mount("-t", "tmpfs", "-o", "size=16k")
    if mounted.returncode:
        pytest.skip(f"mounting a small tmpfs is not permitted: {mounted.stderr.strip()}")
    yield disk, lambda size: mount("-o", f"remount,size={size}")
    subprocess.run(["umount", str(disk)], check=True)


def test_stage_2_reports_a_full_disk_and_resumes_with_more_space(small_disk, tmp_path: Path, capfd):
    disk, resize = small_disk
    recipe = Recipe(tmp_path / "recipe")
    recipe.write_mls()
    assert recipe.prepare() == 0
    run = [f"--data={recipe.out}", f"--out={disk / 'raw'}", "--nj=1"]
    resize("200k")

    assert format_audio.main(run) == 1

    errors = [line for line in capfd.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1 and "free some space" in errors[0] and str(disk) in errors[0], errors
    assert not list(disk.rglob("*.tmp"))
    resize("20m")
    assert format_audio.main(run) == 0
    assert len(read_data_dir(disk / "raw" / "train_mls_de")) == len(TRAIN_IDS)


def test_stage_1_reports_a_full_disk_and_resumes_with_more_space(small_disk, tmp_path: Path, capfd):
    disk, resize = small_disk
    recipe = Recipe(tmp_path / "recipe")
    recipe.write_mls()
    recipe.out = disk / "data"

    assert recipe.prepare() == 1

    errors = [line for line in capfd.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1 and "free some space" in errors[0] and str(disk) in errors[0], errors
    resize("20m")
    assert recipe.prepare() == 0
    assert len(read_data_dir(disk / "data" / "train_mls_de")) == len(TRAIN_IDS)
