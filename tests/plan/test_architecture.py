"""The shape of a backbone is looked up locally."""

from __future__ import annotations

from pathlib import Path

import pytest

from zipperasr.plan.parameters import locate


def write_config(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")


def test_a_local_directory_has_priority(tmp_path):
    for name in ("real/big", "shipped/big"):
        write_config(tmp_path / name)
    assert locate(str(tmp_path / "real/big"), tmp_path / "shipped") == str(tmp_path / "real/big")


def test_a_hub_id_uses_the_shipped_shape(tmp_path):
    write_config(tmp_path / "shipped/big")
    assert locate("someone/big", tmp_path / "shipped") == str(tmp_path / "shipped/big")


def test_a_missing_shape_is_an_error(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"someone/big: neither someone/big/config.json nor .*shipped/big/config"
    ):
        locate("someone/big", tmp_path / "shipped")
