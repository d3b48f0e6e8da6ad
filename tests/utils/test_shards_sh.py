"""utils/shards.sh runs the missing shards, those that fail again, and then the merge; utils/run.sh shares out GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = r"""#!/usr/bin/env bash
# stands in for a stage: a shard is a file; those in fails/K fail as often as the number there says
set -eu
[[ $1 == --shard ]]
what=${2%/*} count=${2#*/}
echo "${what}" >>calls
case ${what} in
    missing)
        [[ ! -e broken ]] || { echo 'stage 7: error: table.tsv: no such file' >&2 && exit 1; }
        found=''
        for ((n = 1; n <= count; n++)); do [[ -e shard.${n} ]] || found+="${n}:${n} "; done
        echo "${found% }"
        ;;
    merge) cat shard.* >merged && rm shard.* ;;
    *)
        echo "shard ${what}, attempt ${SHARDS_ATTEMPT} of ${SHARDS_RUN}"
        left=$(cat "fails/${what}" 2>/dev/null || echo 0)
        echo $((left - 1)) >"fails/${what}"
        ((left <= 0)) && echo "${CUDA_VISIBLE_DEVICES-}" >"shard.${what}"
        ;;
esac
"""


@pytest.fixture
def call(root: Path, tmp_path: Path):
    """Run shards.sh with the stand-in, in an empty directory; `fails`: how often a shard fails."""
    (tmp_path / "stage").write_text(COMMAND)
    (tmp_path / "stage").chmod(0o755)
    (tmp_path / "fails").mkdir()

    def run(*options: str, fails: dict[int, int] | None = None, **environment: str) -> subprocess.CompletedProcess:
        for number, times in (fails or {}).items():
            (tmp_path / "fails" / str(number)).write_text(f"{times}\n")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [root / "utils" / "shards.sh", "--cmd", f"{root}/utils/run.sh", *options, "log/stage7.log", "./stage"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PATH": path, **environment},
        )

    return run


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().split()


def test_all_shards_run_and_are_merged(call, tmp_path):
    done = call("--nj", "3")
    assert done.returncode == 0, done.stderr
    assert sorted(calls(tmp_path)) == ["1", "2", "3", "merge", "missing", "missing"]
    assert calls(tmp_path)[-1] == "merge"
    assert "shard 2, attempt 0 of " in (tmp_path / "log" / "stage7.2.log").read_text()
    assert (tmp_path / "merged").exists()


def test_only_a_failed_shard_runs_again(call, tmp_path):
    done = call("--nj", "4", fails={3: 1})
    assert done.returncode == 0, done.stderr
    shards = [word for word in calls(tmp_path) if word.isdigit()]
    assert sorted(shards) == ["1", "2", "3", "3", "4"]
    assert "running shards 3-3 of 4 again" in done.stderr
    assert "shard 3, attempt 1 of " in (tmp_path / "log" / "stage7.3.log").read_text()


def test_a_shard_that_fails_too_often_ends_the_stage_and_the_same_command_runs_only_that(call, tmp_path):
    done = call("--nj", "4", "--retries", "2", fails={2: 3, 4: 4})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "shards.sh: error: shards 2-2 4-4 of 4 failed, see log/stage7.*.log"
    assert not (tmp_path / "merged").exists()
    before = len(calls(tmp_path))
    again = call("--nj", "4", "--retries", "2", fails={2: 0, 4: 0})
    assert again.returncode == 0, again.stderr
    assert sorted(word for word in calls(tmp_path)[before:] if word.isdigit()) == ["2", "4"]


def test_no_retries_means_one_attempt(call, tmp_path):
    assert call("--nj", "2", "--retries", "0", fails={1: 1}).returncode == 1
    assert sorted(word for word in calls(tmp_path) if word.isdigit()) == ["1", "2"]


def test_an_error_of_the_stage_is_reported_in_one_line_before_any_shard_runs(call, tmp_path):
    (tmp_path / "broken").touch()
    done = call("--nj", "2")
    assert (done.returncode, done.stderr) == (1, "stage 7: error: table.tsv: no such file\n")
    assert calls(tmp_path) == ["missing"]


@pytest.mark.parametrize(
    ("options", "gpus", "wanted"),
    [
        ("--gpu 1", "0,1,2,3", ["0", "1", "2", "3"]),
        ("--gpu 1", "5,7", ["5", "7", "5", "7"]),
        ("--gpu 2", "0,1,2,3", ["0,1", "2,3", "0,1", "2,3"]),
        ("--gpu 1 --max_jobs_run 1", "0,1", ["0", "0", "0", "0"]),
        ("", "", ["", "", "", ""]),
    ],
)
def test_every_shard_gets_a_gpu_of_its_own(call, root, tmp_path, options, gpus, wanted):
    """Four processes on the CPU, of which only CUDA_VISIBLE_DEVICES is checked."""
    done = call("--cmd", f"{root}/utils/run.sh {options}", "--nj", "4", CUDA_VISIBLE_DEVICES=gpus)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "merged").read_text().splitlines() == wanted


def test_a_shard_that_runs_again_gets_the_same_gpu(call, root, tmp_path):
    runners = ["--cmd", f"{root}/utils/run.sh --gpu 1", "--merge_cmd", f"{root}/utils/run.sh --gpu 0"]
    done = call(*runners, "--nj", "3", fails={3: 1}, CUDA_VISIBLE_DEVICES="0,1,2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "merged").read_text().splitlines() == ["0", "1", "2"]


def test_gpus_are_counted_if_none_are_selected(call, root, tmp_path):
    """A stand-in for nvidia-smi reports two GPUs, then none."""
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "nvidia-smi"
    kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment = {**kept, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    command = [root / "utils" / "run.sh", "--gpu", "1", "JOB=1:2", "x.JOB.log", "bash", "-c"]
    for found, status in (("echo 0; echo 1", 0), ("true", 1)):
        tool.write_text(f"#!/bin/sh\n{found}\n")
        tool.chmod(0o755)
        done = subprocess.run(
            [*command, "echo $CUDA_VISIBLE_DEVICES"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == status, done.stderr
    assert "error: --gpu 1: found 0 GPUs on" in done.stderr
    assert [(tmp_path / f"x.{n}.log").read_text().splitlines()[3] for n in (1, 2)] == ["0", "1"]


def test_jobs_that_run_together_share_the_cores(root, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [root / "utils" / "run.sh", "--max_jobs_run", "2", "JOB=1:3", "x.JOB.log", "bash", "-c"]
    subprocess.run([*command, "echo $OMP_NUM_THREADS"], cwd=tmp_path, env=environment, check=True)
    cores = int(subprocess.check_output(["nproc"], env=environment))
    assert (tmp_path / "x.3.log").read_text().splitlines()[3] == str(max(1, cores // 2))


def test_a_missing_command_exits_with_2(root, tmp_path):
    done = subprocess.run([root / "utils" / "shards.sh", "a.log"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "wanted LOG and COMMAND, got 'a.log'" in done.stderr
