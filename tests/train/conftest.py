"""Session fixtures: the tiny recipe, and its trainings by one process and by two."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train import worker
from tests.train.tiny_recipe import write_recipe


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="session")
def one_process(tiny_recipe, tmp_path_factory) -> Path:
    """Training directories of one process."""
    out = tmp_path_factory.mktemp("one")
    worker.launch(tiny_recipe, out, 1)
    return out


@pytest.fixture(scope="session")
def two_ranks(tiny_recipe, tmp_path_factory) -> Path:
    """The same trainings by two gloo ranks."""
    out = tmp_path_factory.mktemp("two")
    worker.launch(tiny_recipe, out, 2)
    return out
