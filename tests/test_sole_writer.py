"""Of two runs that write to a directory, one works and the other names the owner of the lock."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from zipperasr.sole_writer import Owner, sole_writer

HOLDER = """
import sys, time
from zipperasr.sole_writer import sole_writer
with sole_writer(sys.argv[1]):
    print("holds", flush=True)
    time.sleep(60)
"""
RACER = """
import sys, time
from pathlib import Path
from zipperasr.sole_writer import sole_writer
print("ready", flush=True)
sys.stdin.readline()
try:
    with sole_writer(sys.argv[1]):
        print("holds", flush=True)
        sys.stdin.readline()
except ValueError as error:
    print(error, flush=True)
"""


@pytest.fixture
def start(root):
    """Start a process with one of the scripts above; it is killed after the test."""
    running = []

    def call(script: str, directory: Path) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(directory)],
            cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield call
    for process in running:
        process.kill()
        process.communicate()


def hold(start, directory: Path) -> subprocess.Popen:
    process = start(HOLDER, directory)
    assert process.stdout.readline() == "holds\n"
    return process


def lock_of(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.lock")


def test_the_second_run_names_host_and_process_of_the_first(tmp_path, start):
    process = hold(start, tmp_path / "out")
    wanted = rf"out: another run writes here \(process {process.pid} on {socket.gethostname()}\); wait until it ends$"
    with pytest.raises(ValueError, match=wanted), sole_writer(tmp_path / "out"):
        pytest.fail("both runs write")


def test_no_lock_is_left_after_success_or_failure(tmp_path):
    with sole_writer(tmp_path / "new" / "out"):
        assert os.readlink(lock_of(tmp_path / "new" / "out")) == str(Owner.this())
    with pytest.raises(RuntimeError), sole_writer(tmp_path / "new" / "out"):
        raise RuntimeError
    assert list((tmp_path / "new").iterdir()) == []


def test_other_directories_are_not_locked(tmp_path, start):
    hold(start, tmp_path / "out")
    with sole_writer(tmp_path / "out2"):
        pass


@pytest.mark.parametrize("reaped", [True, False])
def test_the_lock_of_a_killed_run_is_taken_over(tmp_path, start, capsys, reaped):
    process = hold(start, tmp_path / "out")
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | (0 if reaped else os.WNOWAIT))  # without reaping it is a zombie
    assert lock_of(tmp_path / "out").is_symlink()
    with sole_writer(tmp_path / "out"):
        assert os.readlink(lock_of(tmp_path / "out")) == str(Owner.this())
    assert f"process {process.pid} held the lock and has died; taking it over" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_reused_process_id_is_not_the_owner(tmp_path):
    lock_of(tmp_path / "out").symlink_to(str(Owner.this()._replace(pid=os.getppid(), start="1")))
    with sole_writer(tmp_path / "out"):
        pass


@pytest.mark.parametrize(("restarts", "is_taken_over"), [("1", True), ("0", False)])
def test_a_requeued_job_takes_over_its_own_lock(tmp_path, monkeypatch, restarts, is_taken_over):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    before = Owner.this()._replace(host="node7", boot="another")
    (tmp_path / ".out.lock").symlink_to(str(before))
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    if is_taken_over:
        with sole_writer(tmp_path / "out"):
            assert Owner.read(tmp_path / ".out.lock") == Owner.this()
    else:  # the same start of the job on another of its nodes
        with pytest.raises(ValueError, match=r"another run writes here .* on node7"), sole_writer(tmp_path / "out"):
            pass


@pytest.mark.parametrize("attempt", ["0", "1"])
def test_a_shard_that_runs_again_takes_over_the_lock_of_its_failed_job(tmp_path, monkeypatch, attempt):
    """The queue has given the two attempts different job numbers, and machines."""
    for name, value in {"SHARDS_RUN": "node1.17.1", "SHARDS_ATTEMPT": "0", "SLURM_JOB_ID": "4711"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".out.lock").symlink_to(str(Owner.this()._replace(host="node7", boot="another")))
    monkeypatch.setenv("SLURM_JOB_ID", "4712")
    monkeypatch.setenv("SHARDS_ATTEMPT", attempt)
    if attempt == "1":
        with sole_writer(tmp_path / "out"):
            assert Owner.read(tmp_path / ".out.lock") == Owner.this()
    else:  # a second process of the same attempt
        with pytest.raises(ValueError, match=r"another run writes here .* on node7"), sole_writer(tmp_path / "out"):
            pass


@pytest.mark.parametrize("other", [{"host": "node7"}, {"boot": "another"}, {"namespace": "1"}])
def test_the_lock_of_another_machine_is_kept_and_the_file_to_remove_is_named(tmp_path, other):
    lock = lock_of(tmp_path / "out")
    lock.symlink_to(str(Owner.this()._replace(pid=2**22 + 1, **other)))
    host = other.get("host", socket.gethostname())
    wanted = rf"\(process 4194305 on {host}\); wait until it ends, or remove {lock} if that process has died$"
    with pytest.raises(ValueError, match=wanted), sole_writer(tmp_path / "out"):
        pytest.fail("both runs write")
    assert lock.is_symlink()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda lock: lock.symlink_to("elsewhere")])
def test_a_file_that_is_not_a_lock_is_an_error(tmp_path, make):
    make(lock_of(tmp_path / "out"))
    with pytest.raises(ValueError, match=r"\.out\.lock exists and is not a lock"), sole_writer(tmp_path / "out"):
        pytest.fail("the file must not be accepted as a lock")


def test_at_most_one_of_many_runs_takes_over_a_stale_lock(tmp_path, start):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    racers = [start(RACER, tmp_path / "out") for _ in range(6)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    lock_of(tmp_path / "out").symlink_to(str(Owner.this()._replace(pid=dead.pid)))
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    answers = [racer.stdout.readline() for racer in racers]
    assert answers.count("holds\n") == 1
    assert all("another run" in answer for answer in answers if answer != "holds\n")
