"""The stage clock times a command, measures its memory and keeps its exit status."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from zipperasr.stages.clock import main
from zipperasr.timed_command import HEADER, append_row, memory_limit_mb, signal_of

HOLD_60_MB = "import time; block = bytearray(60 * 2**20); time.sleep(1)"


def clock(table, *command: str) -> int:
    return main(["--table", str(table), "--stage", "5", "--description", "a -> b", "--", *command])


def rows(table) -> list[dict[str, str]]:
    header, *lines = (line.split("\t") for line in table.read_text(encoding="utf-8").splitlines())
    assert tuple(header) == HEADER
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_wall_time_and_memory_of_children_are_recorded(tmp_path):
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD_60_MB!r}], check=True)"
    assert clock(tmp_path / "exp" / "stages.tsv", sys.executable, "-c", parent) == 0
    (row,) = rows(tmp_path / "exp" / "stages.tsv")
    assert (row["stage"], row["description"]) == ("5", "a -> b")
    assert 1.0 < float(row["wall_s"]) < 60
    assert 60 < float(row["peak_rss_mb"]) < 400


def test_the_exit_status_is_returned_and_a_failed_stage_is_not_recorded(tmp_path, capfd):
    assert clock(tmp_path / "stages.tsv", "bash", "-c", "exit 3") == 3
    assert not (tmp_path / "stages.tsv").exists()
    assert re.search(r"stage 5: FAILED after \d+ s, peak memory ", capfd.readouterr().err)


KILLED = (
    r"stage 5: FAILED after \d+ s: killed by SIGKILL, probably out of memory: "
    r"peak memory (\d+\.\d) of (\d+\.\d) GB; reduce "
)


def test_for_sigkill_the_log_has_the_memory_and_what_to_reduce(tmp_path, capfd):
    program = "import os, time; block = bytearray(300 * 2**20); time.sleep(1.5); os.kill(os.getpid(), 9)"
    assert clock(tmp_path / "stages.tsv", sys.executable, "-c", program) == 137
    peak, limit = map(float, re.search(KILLED + "packs_per_batch", capfd.readouterr().err).groups())
    assert 0.3 <= peak < 1.0
    assert limit == pytest.approx(memory_limit_mb() / 1024, abs=0.06)
    assert not (tmp_path / "stages.tsv").exists()


def test_other_signals_are_named(tmp_path, capfd):
    assert clock(tmp_path / "stages.tsv", "bash", "-c", "kill -SEGV $$") == 139
    assert re.search(r"stage 5: FAILED after \d+ s: killed by SIGSEGV; peak memory ", capfd.readouterr().err)


RANKS = """
import os, signal, sys, time
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
time.sleep(60)
"""


@pytest.mark.parametrize(("name", "status"), [("SIGKILL", 137), ("SIGABRT", 134)])
def test_a_rank_that_is_killed_is_named_by_the_launcher_and_the_clock(root, tmp_path, capfd, monkeypatch, name, status):
    (tmp_path / "ranks.py").write_text(RANKS)
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{tmp_path}")
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}")
    launcher = [str(root / "utils" / "launch.sh"), "--nproc", "2", "-m", "ranks", name]
    assert clock(tmp_path / "stages.tsv", *launcher) == status
    err = capfd.readouterr().err
    assert f"rank 1 was killed by {name}" in err
    assert re.search(rf"stage 5: FAILED after \d+ s: killed by {name}[,;] ", err)
    assert "Traceback" not in err


def test_a_rank_that_fails_is_reported_as_the_cause(root, tmp_path, capfd, monkeypatch):
    (tmp_path / "ranks.py").write_text("import os, time\nif os.environ['RANK'] == '1': exit(3)\ntime.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{tmp_path}")
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}")
    assert clock(tmp_path / "stages.tsv", str(root / "utils" / "launch.sh"), "--nproc", "2", "-m", "ranks") == 3
    err = capfd.readouterr().err
    assert "killed" not in err
    assert "stage 5: FAILED after" in err


@pytest.mark.parametrize(
    ("status", "number"),
    [(137, signal.SIGKILL), (247, signal.SIGKILL), (139, signal.SIGSEGV), (1, None), (128, None), (255, None)],
)
def test_exit_statuses_of_shells_and_of_python_launchers_name_the_signal(status, number):
    assert signal_of(status) == number


def test_the_memory_limit_of_a_container_is_used(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("zipperasr.timed_command._CGROUP_LIMITS", (str(limit).replace("{", "{{"),))
    limit.write_text("max\n")
    assert memory_limit_mb() == pytest.approx(psutil.virtual_memory().total / 2**20)
    limit.write_text(f"{512 * 2**20}\n")
    assert memory_limit_mb() == 512


def test_options_after_the_dashes_belong_to_the_command(tmp_path, capfd):
    assert clock(tmp_path / "stages.tsv", "echo", "--stage-name", "--", "x") == 0
    assert capfd.readouterr().out == "--stage-name -- x\n"


@pytest.mark.parametrize(
    "arguments", [["--stage", "1", "--description", "x"], ["--stage", "1", "--description", "x", "--"]]
)
def test_a_missing_command_is_a_usage_error(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "command" in capsys.readouterr().err


def test_a_signal_reaches_the_command(tmp_path):
    words = [sys.executable, "-m", "zipperasr.stages.clock", "--table", str(tmp_path / "t"), "--stage", "1"]
    ending = "trap 'touch ended; exit 9' TERM; touch ready; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        [*words, "--description", "x", "--", "bash", "-c", ending], cwd=tmp_path, env=_with_root()
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 9
    assert (tmp_path / "ended").exists()


def test_stages_that_end_at_the_same_time_write_complete_lines(tmp_path):
    table = tmp_path / "stages.tsv"
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(append_row, table, "6", f"variant {n}", 1.0, 2.0) for n in range(40)]:
            future.result()
    assert sorted(row["description"] for row in rows(table)) == sorted(f"variant {n}" for n in range(40))


def _with_root() -> dict[str, str]:
    import zipperasr

    root = os.path.dirname(os.path.dirname(zipperasr.__file__))
    return {**os.environ, "PYTHONPATH": root}
