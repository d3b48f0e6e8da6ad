"""A target is complete or absent, and temporary files of a killed writer are removed by the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from zipperasr.atomic import FINGERPRINT, SIZES, atomic_files, atomic_path, is_current, mark_current

WRITER = """
import sys, time
from zipperasr.atomic import {function}
with {function}(sys.argv[1]) as temporary:
    (temporary / "a" if temporary.is_dir() else temporary).write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(root):
    """Start a process that is writing a target; it is killed after the test."""
    running = []

    def start(function: str, target) -> subprocess.Popen:
        command = [sys.executable, "-c", WRITER.format(function=function), str(target)]
        running.append(subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True))
        assert running[-1].stdout.readline() == "writing\n"
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.parametrize("function", [atomic_path, atomic_files], ids=lambda function: function.__name__)
def test_the_next_writer_removes_the_temporary_files_of_a_killed_one(tmp_path, writer, function):
    killed = writer(function.__name__, tmp_path / "target")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(list(tmp_path.glob(".target.*.tmp"))) == 1
    (tmp_path / ".target2.host.1.tmp").touch()  # belongs to another target
    with function(tmp_path / "target") as temporary:
        (temporary / "a" if temporary.is_dir() else temporary).write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {"target", ".target2.host.1.tmp"}


@pytest.mark.parametrize("function", [atomic_path, atomic_files], ids=lambda function: function.__name__)
def test_temporary_files_of_a_running_writer_are_kept(tmp_path, writer, function):
    writer(function.__name__, tmp_path / "target")
    (theirs,) = tmp_path.glob(".target.*.tmp")
    with function(tmp_path / "target") as temporary:
        (temporary / "a" if temporary.is_dir() else temporary).write_text("whole")
    assert theirs.exists()


def test_a_failing_body_leaves_no_files(tmp_path):
    (tmp_path / "target").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "target") as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert (tmp_path / "target").read_text() == "old"


INPUTS = {"a": "0123456789abcdef"}


@pytest.fixture
def made(tmp_path):
    """A directory that a step has completed, and the log of checking it."""
    out = tmp_path / "out"
    (out / "data").mkdir(parents=True)
    (out / "weights").write_bytes(bytes(1000))
    (out / "data" / "1.ark").write_bytes(bytes(10))
    mark_current(out, INPUTS, ["weights", "data/1.ark"])
    return out


def test_a_complete_directory_is_current_only_for_its_inputs(made):
    assert is_current(made, INPUTS)
    assert not is_current(made, {"a": "another"})
    (made / "notes.txt").write_text("mine")
    assert is_current(made, INPUTS)


@pytest.mark.parametrize("record", [FINGERPRINT, SIZES])
@pytest.mark.parametrize("text", ["", '{"a": "01234', "[]", "\x00" * 40, "[" * 100_000])
def test_a_damaged_record_is_not_current_and_is_reported(made, record, text, capsys):
    (made / record).write_text(text)
    assert not is_current(made, INPUTS)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{made / record} is damaged; writing {made} again" in line


def test_a_missing_or_truncated_output_is_not_current_and_is_reported(made, capsys):
    (made / "weights").write_bytes(bytes(999))
    assert not is_current(made, INPUTS)
    assert f"{made}/weights has 999 bytes instead of 1,000; writing {made} again" in capsys.readouterr().err
    (made / "weights").write_bytes(bytes(1000))
    (made / "data" / "1.ark").unlink()
    assert not is_current(made, INPUTS)
    assert f"{made}/data/1.ark is missing; writing {made} again" in capsys.readouterr().err


def test_changed_inputs_are_not_reported_as_damage(made, capsys):
    (made / "weights").unlink()
    assert not is_current(made, {"a": "another"})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
@pytest.mark.parametrize("name", ["", "llm/model.safetensors"])
def test_file_permissions_follow_the_umask(tmp_path, mask, mode, name):
    before = os.umask(mask)
    try:
        with atomic_path(tmp_path / "target") as temporary:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            save_file({"w": torch.zeros(2)}, temporary / name)
    finally:
        os.umask(before)
    assert (tmp_path / "target" / name).stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
