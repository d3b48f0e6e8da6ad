"""SIGTERM reaches commands started by utils/run.sh and asr.sh, and their exit status is returned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SAVES = "trap 'echo saved; exit 75' TERM; touch ready; while :; do sleep 0.05; done"
INSISTS = "trap 'touch asked' TERM; touch ready; until [[ -e asked ]]; do sleep 0.05; done"
STAGES = """
set -euo pipefail
stage=0 stop_stage=9 scale=full ngpu=1
skip_data_prep=false alignment_only=false init_from= skip_train=false skip_eval=false
. "$1/utils/stage.sh"
"$1/utils/run.sh" a.log bash -c "$2"
touch next_stage
"""


def heed_ctrl_c() -> None:
    """Tests started in the background ignore SIGINT, and so would their child processes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(root: Path, tmp_path: Path):
    """Start a command in its own process group and wait until it is ready."""

    def call(*command: str) -> subprocess.Popen:
        process = subprocess.Popen(
            command, cwd=tmp_path, start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=heed_ctrl_c,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return process

    return call


def test_a_command_may_finish_after_sigterm(start, root, tmp_path):
    process = start(str(root / "utils/run.sh"), "a.log", "bash", "-c", SAVES)
    os.killpg(process.pid, signal.SIGTERM)
    assert "saved\n" in process.communicate(timeout=30)[0]
    assert process.returncode == 75
    assert "saved\n# Ended (code 75) at" in (tmp_path / "a.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(("command", "status"), [(SAVES, 75), (INSISTS, 143)])
def test_after_sigterm_a_recipe_does_not_start_the_next_stage(start, root, tmp_path, command, status):
    process = start("bash", "-c", STAGES, "asr.sh", str(root), command)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == status
    assert not (tmp_path / "next_stage").exists()


def test_ctrl_c_ends_the_command(start, root):
    sleeps = "from pathlib import Path; import time; Path('ready').touch(); time.sleep(60)"
    process = start(str(root / "utils/run.sh"), "a.log", sys.executable, "-c", sleeps)
    os.killpg(process.pid, signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[0]
    assert process.returncode in (130, -signal.SIGINT)
