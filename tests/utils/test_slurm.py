"""utils/slurm.sh on a real Slurm: arrays, failed and repeated shards, requeued and cancelled jobs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


def start(script: Path, where: Path, slurm: dict[str, str], *arguments: str) -> subprocess.Popen:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **slurm}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([script, *arguments], cwd=where, env=environment, text=True, **pipes)


@pytest.fixture
def submit(root: Path, tmp_path: Path, slurm: dict[str, str]):
    """Start utils/slurm.sh, or another script, in an empty directory."""

    def submit(*arguments: str, script: str = "slurm.sh") -> subprocess.Popen:
        return start(root / "utils" / script, tmp_path, slurm, *arguments)

    return submit


@pytest.fixture(scope="module", autouse=True)
def interrupted(root: Path, tmp_path_factory, slurm: dict[str, str]) -> tuple[subprocess.Popen, Path]:
    """A job that exits with 75, as a training that saved a checkpoint, and its log. It waits while other tests run."""
    directory = tmp_path_factory.mktemp("interrupted")
    command = "echo step ${SLURM_RESTART_COUNT-0}; [[ -e saved ]] || { touch saved; exit 75; }"
    return start(root / "utils" / "slurm.sh", directory, slurm, "x.log", "bash", "-c", command), directory / "x.log"


def test_an_array_runs_on_both_nodes_with_a_log_per_job(submit, tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "x.2.log").write_text("of an earlier run\n")
    job = submit("JOB=2:5", "log/x.JOB.log", "bash", "-c", "echo part JOB on ${SLURMD_NODENAME}; sleep 1")
    assert job.wait() == 0, job.stderr.read()
    logs = [(tmp_path / "log" / f"x.{number}.log").read_text() for number in range(2, 6)]
    assert [text.split(" on ")[0] for text in logs] == [f"part {number}" for number in range(2, 6)]
    assert {text.split(" on ")[1].strip() for text in logs} == {"n1", "n2"}
    assert not (tmp_path / "log" / "x.1.log").exists()


def test_a_failed_job_of_an_array_is_an_error_and_the_others_finish(submit, tmp_path):
    job = submit("JOB=1:3", "x.JOB.log", "bash", "-c", "test JOB != 2 && touch done.JOB")
    assert job.wait() == 1
    assert job.stderr.read().splitlines()[-1] == "slurm.sh: error: a job failed, see x.JOB.log"
    assert sorted(path.name for path in tmp_path.glob("done.*")) == ["done.1", "done.3"]


def test_a_killed_shard_alone_runs_again(submit, root, tmp_path):
    """A stage of four shards, of which the third is killed when it runs first."""
    (tmp_path / "stage").write_text(
        "#!/usr/bin/env bash\n"
        "case $2 in\n"
        "    missing/4) for n in 1 2 3 4; do [[ -e shard.$n ]] || echo $n:$n; done | paste -sd ' ' ;;\n"
        "    merge/4) cat shard.* >merged ;;\n"
        "    3/4) echo 3 >>started && [[ -e first ]] || { touch first && kill -KILL $$; } && touch shard.3 ;;\n"
        "    *) echo ${2%/*} | tee -a started >shard.${2%/*} ;;\n"
        "esac\n"
    )
    (tmp_path / "stage").chmod(0o755)
    stage = submit("--nj", "4", "--cmd", f"{root}/utils/slurm.sh", "log/stage.log", "./stage", script="shards.sh")
    assert stage.wait() == 0, stage.stderr.read()
    assert sorted((tmp_path / "started").read_text().split()) == ["1", "2", "3", "3", "4"]
    assert (tmp_path / "merged").read_text().split() == ["1", "2", "4"]
    assert "running shards 3-3 of 4 again" in stage.stderr.read()


def test_a_cancelled_job_is_an_error(submit, tmp_path, slurm):
    job = submit("cancelled.log", "bash", "-c", "touch running; exec sleep 60")
    while not (tmp_path / "running").exists():
        assert job.poll() is None, job.stderr.read()
        time.sleep(0.1)
    subprocess.run(["scancel", "--name", "cancelled"], env={**os.environ, **slurm}, check=True)
    assert job.wait() == 1
    assert job.stderr.read().splitlines()[-1] == "slurm.sh: error: a job failed, see cancelled.log"


def test_an_interrupted_job_is_requeued_and_its_log_continues(interrupted):
    job, log = interrupted
    assert job.wait() == 0, job.stderr.read()
    assert [line for line in log.read_text().splitlines() if line.startswith("step")] == ["step 0", "step 1"]
