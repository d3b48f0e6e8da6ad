"""The commit of the code, where there is one."""

from __future__ import annotations

import re

import pytest

from zipperasr import code_version, run_record


@pytest.fixture(autouse=True)
def uncached():
    code_version.commit.cache_clear()
    yield
    code_version.commit.cache_clear()


def test_a_clone_has_a_commit_and_an_installed_package_none(root, tmp_path, monkeypatch):
    if (root / ".git").exists():
        assert re.fullmatch(r"[\w.-]*[0-9a-f]{12}(-dirty)?", code_version.commit())
    code_version.commit.cache_clear()
    monkeypatch.setattr(code_version, "_ROOT", tmp_path)
    assert code_version.commit() == code_version.last_change([tmp_path]) == ""
    assert not code_version.comes_after("HEAD", "HEAD")


def test_without_git_the_commit_is_unknown(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(code_version, "_ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version.commit() == ""


def test_a_record_names_the_commit_and_no_directory_of_this_machine(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/home/me/zipperasr/stages/train.py", "--phase", "sft"])
    versions = run_record.versions()
    assert versions["command"] == "train.py --phase sft" and versions["commit"] == code_version.commit()
