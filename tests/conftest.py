"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


# What takes minutes runs first: if it started last, one process would be busy with it while the other is idle.
LONGEST_FIRST = (
    "train/",
    "recipe/test_rehearsal",
    "recipe/test_end_to_end",
    "recipe/test_extending",
    "benchmarks/",
    "recipe/",
)
TOGETHER = ("train/", "plan/")  # directories whose session fixtures take longer than sharing out their files saves


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable: the order within a file and among all other files is unchanged."""
    items.sort(key=_place)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """With `--dist loadfile`, run each file in one process, and all files of a directory in TOGETHER, too."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((name for name in TOGETHER if file.startswith(f"tests/{name}")), file)

    return Scheduling(config, log)


def _place(item: pytest.Item) -> int:
    places = (number for number, name in enumerate(LONGEST_FIRST) if item.nodeid.startswith(f"tests/{name}"))
    return next(places, len(LONGEST_FIRST))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def recipe(root: Path) -> Path:
    """The paper's recipe."""
    return root / "egs2" / "zipper12" / "asr1"


@pytest.fixture(scope="session")
def shared_dir(root: Path) -> Path:
    """Reference material in ../shared: real recordings and the authors' utterance lists."""
    path = root.parent / "shared"
    if not path.is_dir():
        pytest.skip("../shared, with real recordings and utterance lists, does not exist")
    return path


@pytest.fixture(scope="session")
def whisper_files(recipe: Path, tmp_path_factory) -> Path:
    """A directory with large-v3's tokenizer and configuration, without weights."""
    return _published("write_whisper_tokenizer", recipe, "whisper-large-v3", tmp_path_factory)


@pytest.fixture(scope="session")
def qwen3_files(recipe: Path, tmp_path_factory) -> Path:
    """A directory with Qwen3-1.7B's tokenizer and configuration, without weights."""
    return _published("write_qwen3_tokenizer", recipe, "Qwen3-1.7B", tmp_path_factory)


def _published(write: str, recipe: Path, name: str, tmp_path_factory) -> Path:
    from zipperasr.model import published_tokenizers  # imports transformers, which few tests need

    directory = tmp_path_factory.mktemp("published") / name
    shutil.copytree(recipe / "conf" / "full" / "architectures" / name, directory)
    try:
        getattr(published_tokenizers, write)(directory)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return directory


@pytest.fixture(scope="session")
def slurm(root: Path, tmp_path_factory) -> Iterator[dict[str, str]]:
    """A Slurm cluster of two nodes on this machine: what to add to the environment."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a Slurm cluster on this machine")
    if shutil.which("slurmctld") is None:
        pytest.skip("Slurm is not installed: tools/slurm_for_tests.sh install")
    directory, script = tmp_path_factory.mktemp("slurm"), root / "tools" / "slurm_for_tests.sh"
    subprocess.run([script, "start", directory], check=True)
    yield {"SLURM_CONF": str(directory / "slurm.conf"), "CMD_BACKEND": "slurm"}
    subprocess.run([script, "stop", directory], check=True)


@pytest.fixture
def held_elsewhere():
    """Make a process on another machine the owner of a directory's lock; returns the expected error."""
    from zipperasr.sole_writer import Owner

    def hold(directory: Path) -> str:
        lock = directory.with_name(f".{directory.name}.lock")
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.symlink_to(str(Owner.this()._replace(host="node7", pid=12)))
        return f"{directory}: another run writes here (process 12 on node7); wait until it ends, or remove {lock}"

    return hold
