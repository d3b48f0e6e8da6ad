"""Fixtures for the report: a complete run, created once and copied for tests that modify it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.report.example import write_run
from zipperasr.languages import LanguageTable
from zipperasr.stages.report import main


@pytest.fixture(scope="session")
def languages(recipe: Path) -> LanguageTable:
    return LanguageTable.load(recipe / "conf" / "languages.tsv")


@pytest.fixture(scope="session")
def pristine_run(tmp_path_factory, languages: LanguageTable) -> Path:
    """Read only."""
    return write_run(tmp_path_factory.mktemp("run"), languages.path)


@pytest.fixture
def run_dir(pristine_run: Path, tmp_path: Path) -> Path:
    """A writable recipe directory after stage 8."""
    return Path(shutil.copytree(pristine_run, tmp_path / "asr1"))


def options_for(run_dir: Path, languages: LanguageTable) -> list[str]:
    """Options of stage 9 for a run."""
    places = {"exp": "exp", "raw": "dump/raw", "data": "data", "dump": "dump", "out": "RESULTS.md"}
    places |= {"datasets": "conf/datasets.tsv", "corpora": "conf/corpora.yaml"}
    options = [word for name, path in places.items() for word in (f"--{name}", str(run_dir / path))]
    return [*options, "--languages", str(languages.path), "--command", "./run.sh --lora zipper_soft"]


@pytest.fixture
def report_argv(run_dir: Path, languages: LanguageTable) -> list[str]:
    """Options of stage 9 for `run_dir`."""
    return options_for(run_dir, languages)


@pytest.fixture(scope="session")
def reported(pristine_run: Path, tmp_path_factory, languages: LanguageTable) -> Path:
    """A run after stage 9, with the benchmark page. Read-only."""
    run_dir = Path(shutil.copytree(pristine_run, tmp_path_factory.mktemp("reported") / "asr1"))
    benchmark = ["--benchmark_out", str(run_dir / "benchmarks" / "make_run.md")]
    assert main([*options_for(run_dir, languages), *benchmark]) == 0
    return run_dir
