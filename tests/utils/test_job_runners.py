"""utils/run.sh, utils/slurm.sh and utils/launch.sh are called as in Kaldi."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

OF_A_RANK = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture
def call(root: Path, tmp_path: Path):
    """Run a script from utils/ in an empty directory, with the Python that runs the tests first on PATH."""

    def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        # a test that trains in this process leaves the variables of its rank behind
        inherited = {name: value for name, value in os.environ.items() if name not in OF_A_RANK}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [root / "utils" / script, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**inherited, "PATH": path, "PYTHONPATH": str(root), **environment},
        )

    return run


def test_output_of_a_single_command_is_shown_and_logged(call, tmp_path):
    done = call("run.sh", "log/a.log", "echo", "two words")
    assert (done.returncode, done.stdout) == (0, "two words\n")
    lines = (tmp_path / "log" / "a.log").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# echo two words"
    assert lines[3] == "two words"
    assert lines[-1].startswith("# Ended (code 0)")


def test_the_exit_status_of_a_single_command_is_returned(call, tmp_path):
    assert call("run.sh", "a.log", "bash", "-c", "exit 7").returncode == 7
    assert "# Ended (code 7)" in (tmp_path / "a.log").read_text(encoding="utf-8")


def test_a_killed_command_is_reported_with_its_signal(call, tmp_path):
    done = call("run.sh", "a.log", "bash", "-c", "kill -KILL $$")
    assert done.returncode == 137
    assert "run.sh: the command ended with code 137, SIGKILL, probably out of memory, see a.log" in done.stderr
    assert "# Ended (code 137, SIGKILL, probably out of memory)" in (tmp_path / "a.log").read_text(encoding="utf-8")


def test_a_killed_job_of_a_range_is_reported_with_its_signal(call):
    done = call("run.sh", "JOB=1:2", "x.JOB.log", "bash", "-c", "test JOB = 1 || kill -SEGV $$")
    assert done.returncode == 1
    assert "a job failed with code 139, SIGSEGV, see x.2.log" in done.stderr


def test_the_job_number_replaces_job_in_log_and_command(call, tmp_path):
    done = call("run.sh", "JOB=2:4", "log/x.JOB.log", "bash", "-c", "echo part.JOB > out.JOB; echo said JOB")
    assert (done.returncode, done.stdout) == (0, "")
    for job in (2, 3, 4):
        assert (tmp_path / f"out.{job}").read_text(encoding="utf-8") == f"part.{job}\n"
        assert f"said {job}\n" in (tmp_path / "log" / f"x.{job}.log").read_text(encoding="utf-8")
    assert not (tmp_path / "out.1").exists()


def test_failed_jobs_are_reported_and_the_others_finish(call, tmp_path):
    done = call(
        "run.sh", "--max-jobs-run", "2", "JOB=1:4", "x.JOB.log", "bash", "-c", "test JOB != 3 && touch done.JOB"
    )
    assert done.returncode == 1
    assert "see x.3.log" in done.stderr
    assert "1 of 4 jobs failed" in done.stderr
    assert sorted(path.name for path in tmp_path.glob("done.*")) == ["done.1", "done.2", "done.4"]


def test_the_number_of_simultaneous_jobs_is_limited(call, tmp_path):
    start = time.monotonic()
    assert call("run.sh", "--max_jobs_run", "1", "JOB=1:3", "x.JOB.log", "sleep", "0.3").returncode == 0
    assert time.monotonic() - start > 0.9


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core runs one job at a time")
def test_jobs_run_at_the_same_time_whatever_omp_num_threads_is(call):
    """nproc prints OMP_NUM_THREADS if it is set. Each job waits for the other one."""
    meet = "touch met.JOB; for n in {1..100}; do [[ -e met.1 && -e met.2 ]] && exit; sleep 0.1; done; exit 1"
    assert call("run.sh", "JOB=1:2", "x.JOB.log", "bash", "-c", meet, OMP_NUM_THREADS="1").returncode == 0


@pytest.mark.parametrize("script", ["run.sh", "slurm.sh"])
def test_missing_command_exits_with_2(call, script):
    done = call(script, "a.log")
    assert done.returncode == 2
    assert "wanted LOG and COMMAND, got 'a.log'" in done.stderr


def test_queue_options_are_accepted_and_unknown_ones_are_errors(call):
    assert call("run.sh", "--gpu", "2", "--mem", "8G", "--num-threads", "4", "a.log", "true").returncode == 0
    assert call("run.sh", "--gpus", "2", "a.log", "true").returncode == 2


def test_the_slurm_script_requests_the_resources_of_the_options(call):
    done = call(
        "slurm.sh", "--show", "true", "--gpu", "4", "--num-nodes", "2", "--mem", "64G", "--max-jobs-run", "3",
        "JOB=1:8", "log/x.JOB.log", "cmd", "two words", "part.JOB",
    )  # fmt: skip
    wanted = ["output=log/x.%a.log", "array=1-8%3", "nodes=2", "ntasks-per-node=1", "gres=gpu:4", "mem=64G"]
    lines = done.stdout.splitlines()
    assert all(f"#SBATCH --{line}" in lines for line in wanted)
    assert r"srun --export=ALL cmd two\ words part.${SLURM_ARRAY_TASK_ID} && exit" in lines


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (75, True)])
def test_an_interrupted_slurm_job_is_requeued(call, tmp_path, status, requeued):
    """The batch script requeues itself; Slurm's commands are replaced by scripts, because Slurm is not installed."""
    script = call("slurm.sh", "--show", "true", "x.log", "train").stdout
    for name, line in (("srun", f"exit {status}"), ("scontrol", f'echo "$@" >>{tmp_path}/calls')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "42"}

    assert "#SBATCH --requeue" in script.splitlines()
    assert subprocess.run(["bash", "-c", script], env=environment, check=False).returncode == status
    calls = tmp_path / "calls"
    assert (calls.read_text() if calls.exists() else "") == ("requeue 42\n" if requeued else "")


def test_without_slurm_the_error_says_what_to_do(call, tmp_path):
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "dirname", "basename", "env", "date", "mkdir"):
        (tmp_path / "bin" / tool).symlink_to(subprocess.check_output(["which", tool], text=True).strip())
    done = subprocess.run(
        [Path(__file__).parents[2] / "utils" / "slurm.sh", "a.log", "true"],
        capture_output=True, text=True, cwd=tmp_path, env={"PATH": str(tmp_path / "bin")},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("slurm.sh: error: sbatch not found")


RANKS = """
import os
rank, ranks, node = (os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "GROUP_RANK"))
os.write(1, f"rank {rank} of {ranks} node {node}\\n".encode())  # one write, so that lines of two ranks are not mixed
"""


def test_one_process_is_plain_python(call, tmp_path):
    (tmp_path / "ranks.py").write_text(RANKS, encoding="utf-8")
    assert call("launch.sh", "-m", "ranks").stdout == "rank None of None node None\n"


def test_several_processes_get_their_ranks(call, tmp_path):
    (tmp_path / "ranks.py").write_text(RANKS, encoding="utf-8")
    done = call("launch.sh", "--nproc", "2", "--master", "localhost:29712", "-m", "ranks")
    assert sorted(done.stdout.splitlines()) == ["rank 0 of 2 node 0", "rank 1 of 2 node 0"], done.stderr


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, "expandable_segments:True"),
        ({"PYTORCH_ALLOC_CONF": "backend:native"}, "backend:native"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:512"}, ""),
    ],
)
def test_on_a_gpu_the_allocator_uses_expandable_segments_by_default(tmp_path, given, wanted):
    """Uses a stand-in for Python that reports one GPU."""
    (tmp_path / "python3").write_text('#!/bin/sh\n[ "$1" = -c ] && echo 1 || echo "${PYTORCH_ALLOC_CONF}"\n')
    (tmp_path / "python3").chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.endswith("ALLOC_CONF")}
    environment = {**kept, "PATH": f"{tmp_path}:{os.environ['PATH']}", **given}
    launcher = Path(__file__).parents[2] / "utils" / "launch.sh"
    done = subprocess.run(
        [launcher, "--ngpu", "1", "-m", "ranks"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.strip() == wanted, done.stderr


@pytest.mark.parametrize(("given", "wanted"), [({}, "4294967296"), ({"MALLOC_MMAP_THRESHOLD_": "131072"}, "131072")])
def test_on_a_cpu_freed_memory_is_kept_by_default(call, tmp_path, given, wanted):
    (tmp_path / "ranks.py").write_text("import os; print(os.environ['MALLOC_MMAP_THRESHOLD_'])", encoding="utf-8")
    assert call("launch.sh", "-m", "ranks", **given).stdout.strip() == wanted


def test_errors_of_the_launcher(call):
    assert "wanted -m MODULE, got 'ranks'" in call("launch.sh", "ranks").stderr
    assert "--ngpu 99: torch finds" in call("launch.sh", "--ngpu", "99", "-m", "ranks").stderr
    assert "hosts: host file not found" in call("launch.sh", "--hostfile", "hosts", "-m", "ranks").stderr
