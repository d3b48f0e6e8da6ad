"""YAML files that extend others, and errors in them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from zipperasr.config import load_yaml, parse_overrides


@dataclass(frozen=True)
class Inner:
    rank: int = 1
    alpha: float = 2.0


@dataclass(frozen=True)
class Settings:
    name: str
    depth: int | str = 0
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class Roots:
    roots: dict[str, str]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_changes_single_keys_of_its_base(tmp_path):
    write(tmp_path / "full" / "model.yaml", "name: full\ndepth: 32\ninner: {rank: 32, alpha: 64}\n")
    small = write(tmp_path / "small" / "model.yaml", "base: ../full/model.yaml\ndepth: full\ninner: {rank: 16}\n")
    assert load_yaml(Settings, small) == Settings("full", "full", Inner(16, 64.0))


def test_overrides_have_priority_over_both(tmp_path):
    write(tmp_path / "a.yaml", "name: a\ndepth: 1\n")
    path = write(tmp_path / "b.yaml", "base: a.yaml\ndepth: 2\n")
    assert load_yaml(Settings, path, {"depth": 3, "inner.rank": 4}) == Settings("a", 3, Inner(4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: missing.yaml\n", r"missing\.yaml: no such configuration file"),
        ("base: 3\n", r"a\.yaml: base: got 3, wanted the path of another YAML file"),
        ("base: a.yaml\n", r"a\.yaml: base: more than 8 files deep; do two files refer to each other\?"),
    ],
)
def test_a_base_that_cannot_be_read_is_an_error(tmp_path, text, message):
    with pytest.raises((ValueError, OSError), match=message):
        load_yaml(Settings, write(tmp_path / "a.yaml", text))


def test_a_foreign_file_cannot_have_a_base(tmp_path):
    write(tmp_path / "secret.yaml", "name: secret\n")
    with pytest.raises(ValueError, match="unknown key 'base'"):
        load_yaml(Settings, write(tmp_path / "a.yaml", "base: secret.yaml\nname: a\n"), bases=False)


def expanding(levels: int) -> str:
    """A few lines whose aliases expand to 9 ** levels values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (expanding(7), "more than 10,000 values, aliases expanded"),
        ("name: &a [*a]", r"alias \*a is inside the value that it refers to"),
        ("name: " + "[" * 3000, "nested more than 20 levels deep"),
        ("name: " + "[" * 15, "not valid YAML: .* in line 1"),
        ("name: [1", "not valid YAML: .* in line 1, column"),
        ("name: @", "not valid YAML: found character '@'"),
        ("name: !!int ''", "not valid YAML"),
        ("name: !!timestamp x", "not valid YAML"),
        ("name: 2001-99-99", "not valid YAML: month must be in 1..12"),
        ("name: " + "9" * 5000, "not valid YAML"),
        ("name: [" + "1, " * 3000 + "1]", r"name: got \[1, 1, 1, 1, 1, 1, ...\], wanted str"),
        ("name: a\n" + "k" * 1000 + ": 1", "unknown key 'kkk"),
        ("name: a\ndepth: {1: {2: 3}}", r"depth: got \{1: \{2: 3\}\}, wanted int"),
        ("name: a\ninner: {alpha: 1" + "0" * 400 + "}", "inner: alpha: got 1000.* wanted a number"),
        ("# " + "x" * 300_000, "300,002 bytes, wanted a configuration of at most 200,000"),
        ("0x" + "f" * 5000, "wanted keys of Settings"),
    ],
    ids=lambda value: value[:20],
)
def test_hostile_yaml_is_rejected_quickly_with_a_short_error(tmp_path, text, message):
    path = write(tmp_path / "a.yaml", text)
    start = time.process_time()
    with pytest.raises(ValueError, match=message) as caught:
        load_yaml(Settings, path)
    assert time.process_time() - start < 30  # a hundredth of a second here; minutes if values were expanded
    assert len(str(caught.value).replace(str(tmp_path), "")) <= 500


def test_an_alias_used_a_few_times_is_read(tmp_path):
    path = write(tmp_path / "a.yaml", "name: &n x\ninner: &i {rank: 2}\n")
    with pytest.raises(ValueError, match="unknown key 'again'"):
        load_yaml(Settings, write(tmp_path / "b.yaml", "base: a.yaml\nagain: &n x\n"))
    assert load_yaml(Settings, path) == Settings("x", 0, Inner(2))
    assert load_yaml(Settings, write(tmp_path / "c.yaml", "inner: {rank: &r 3, alpha: *r}\nname: a\n")).inner == Inner(
        3, 3.0
    )


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["depth"], "--train_args depth: wanted key=value"),
        (["=1"], "--train_args =1: wanted key=value"),
        (["depth=[1"], r"--train_args depth=\[1: not valid YAML"),
        (["depth=@"], "--train_args depth=@: not valid YAML"),
        (["depth=3", "depth.x=1"], r"--train_args depth.x=1: depth is a single value \(3\) and has no keys of its own"),
        (["inner.rank=2", "inner.alpha=high"], "--train_args inner.alpha=high: inner: alpha: got 'high'"),
        (["depth=1", "depht=2"], "--train_args depht=2: unknown key 'depht'; did you mean 'depth'?"),
        (["inner.alpha=1" + "0" * 400], "--train_args inner.alpha=1000.* wanted a number"),
        (["depth=" + "[" * 3000], "--train_args depth=.* nested more than 20 levels deep"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_an_error_in_a_command_line_setting_names_the_setting(tmp_path, pairs, message):
    path = write(tmp_path / "a.yaml", "name: a\n")
    with pytest.raises(ValueError, match=message) as caught:
        load_yaml(Settings, path, parse_overrides(pairs, "--train_args"))
    assert str(tmp_path) not in str(caught.value)
    assert len(str(caught.value)) <= 500


def test_an_error_in_the_file_names_the_file_despite_command_line_settings(tmp_path):
    path = write(tmp_path / "a.yaml", "name: a\ninner: {rank: x}\n")
    with pytest.raises(ValueError, match=r"a\.yaml: inner: rank: got 'x'"):
        load_yaml(Settings, path, parse_overrides(["depth=1"]))
    assert load_yaml(Settings, path, parse_overrides(["inner.rank=3"])).inner.rank == 3


def test_the_values_of_a_mapping_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"a\.yaml: roots: 'mls': got \[1\], wanted str"):
        load_yaml(Roots, write(tmp_path / "a.yaml", "roots: {mls: [1]}"))
    with pytest.raises(ValueError, match=r"a\.yaml: roots: got 3, wanted keys and their values"):
        load_yaml(Roots, write(tmp_path / "a.yaml", "roots: 3"))
