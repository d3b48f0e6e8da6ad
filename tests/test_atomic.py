"""A target is whole or absent, and what a killed writer leaves beside it goes with the next one."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from zipperasr.atomic import atomic_files, atomic_path

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
    """Starts a process that is in the middle of writing a target; ended at the end."""
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
def test_the_next_writer_clears_away_what_a_killed_one_left(tmp_path, writer, function):
    killed = writer(function.__name__, tmp_path / "target")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(list(tmp_path.glob(".target.*.tmp"))) == 1
    (tmp_path / ".target2.host.1.tmp").touch()  # of another target
    with function(tmp_path / "target") as temporary:
        (temporary / "a" if temporary.is_dir() else temporary).write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {"target", ".target2.host.1.tmp"}


@pytest.mark.parametrize("function", [atomic_path, atomic_files], ids=lambda function: function.__name__)
def test_a_writer_that_is_still_at_work_is_left_alone(tmp_path, writer, function):
    writer(function.__name__, tmp_path / "target")
    (theirs,) = tmp_path.glob(".target.*.tmp")
    with function(tmp_path / "target") as temporary:
        (temporary / "a" if temporary.is_dir() else temporary).write_text("whole")
    assert theirs.exists()


def test_nothing_is_left_of_a_body_that_fails(tmp_path):
    (tmp_path / "target").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "target") as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert (tmp_path / "target").read_text() == "old"
