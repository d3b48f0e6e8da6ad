"""YAML files on top of others: a scale lists only what differs from another one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from zipperasr.config import load_yaml


@dataclass(frozen=True)
class Inner:
    rank: int = 1
    alpha: float = 2.0


@dataclass(frozen=True)
class Settings:
    name: str
    depth: int | str = 0
    inner: Inner = field(default_factory=Inner)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_changes_single_keys_of_its_base(tmp_path):
    write(tmp_path / "full" / "model.yaml", "name: full\ndepth: 32\ninner: {rank: 32, alpha: 64}\n")
    small = write(tmp_path / "small" / "model.yaml", "base: ../full/model.yaml\ndepth: full\ninner: {rank: 16}\n")
    assert load_yaml(Settings, small) == Settings("full", "full", Inner(16, 64.0))


def test_overrides_win_over_both(tmp_path):
    write(tmp_path / "a.yaml", "name: a\ndepth: 1\n")
    path = write(tmp_path / "b.yaml", "base: a.yaml\ndepth: 2\n")
    assert load_yaml(Settings, path, {"depth": 3, "inner.rank": 4}) == Settings("a", 3, Inner(4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: missing.yaml\n", r"missing\.yaml: no such configuration file"),
        ("base: 3\n", r"a\.yaml: base: got 3, wanted the path of another YAML file"),
        ("base: a.yaml\n", r"a\.yaml: base: more than 8 files deep; do two files name each other\?"),
    ],
)
def test_a_base_that_cannot_be_read_is_named(tmp_path, text, message):
    with pytest.raises((ValueError, OSError), match=message):
        load_yaml(Settings, write(tmp_path / "a.yaml", text))


def test_a_file_of_somebody_else_names_no_other(tmp_path):
    write(tmp_path / "secret.yaml", "name: secret\n")
    with pytest.raises(ValueError, match="unknown key 'base'"):
        load_yaml(Settings, write(tmp_path / "a.yaml", "base: secret.yaml\nname: a\n"), bases=False)
