"""The stage clock times a command, measures its memory and keeps its exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from zipperasr.stage_clock import HEADER, append_row, main

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


def test_exit_status_is_passed_on_and_a_failed_stage_is_not_recorded(tmp_path, capfd):
    assert clock(tmp_path / "stages.tsv", "bash", "-c", "exit 3") == 3
    assert clock(tmp_path / "stages.tsv", "bash", "-c", "kill -9 $$") == 137
    assert not (tmp_path / "stages.tsv").exists()
    assert "stage 5: FAILED" in capfd.readouterr().err


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
    words = [sys.executable, "-m", "zipperasr.stage_clock", "--table", str(tmp_path / "t"), "--stage", "1"]
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


def test_stages_that_end_at_once_keep_whole_lines(tmp_path):
    table = tmp_path / "stages.tsv"
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(append_row, table, "6", f"variant {n}", 1.0, 2.0) for n in range(40)]:
            future.result()
    assert sorted(row["description"] for row in rows(table)) == sorted(f"variant {n}" for n in range(40))


def _with_root() -> dict[str, str]:
    import zipperasr

    root = os.path.dirname(os.path.dirname(zipperasr.__file__))
    return {**os.environ, "PYTHONPATH": root}
