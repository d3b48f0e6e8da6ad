"""Fixtures that every room shares."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
    """Reference material beside the checkout: real recordings and the authors' utterance lists."""
    path = root.parent / "shared"
    if not path.is_dir():
        pytest.skip("no ../shared beside the checkout: real recordings and utterance lists are not at hand")
    return path
