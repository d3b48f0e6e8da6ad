"""A recipe with noise in three languages, up to stage 4."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.tiny_recipe import write_recipe


@pytest.fixture(scope="session")
def noise_recipe(tmp_path_factory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("noise_recipe"))
