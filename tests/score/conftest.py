"""Fixtures for scoring."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.score.example import write_example


@pytest.fixture
def decoded(tmp_path: Path) -> tuple[Path, Path]:
    """(decode_dir, raw): test sets in thirteen languages and hypotheses for them."""
    return write_example(tmp_path)


@pytest.fixture
def score_argv(decoded: tuple[Path, Path], recipe: Path) -> list[str]:
    """Options of stage 8 for `decoded`, with the recipe's language table."""
    decode_dir, raw = decoded
    return ["--decode_dir", str(decode_dir), "--raw", str(raw), "--languages", str(recipe / "conf" / "languages.tsv")]
