"""Trainings that are killed, interrupted, or find a damaged checkpoint end bit-identical to an uninterrupted one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.tiny_recipe import options
from tests.train.warm import ENVIRONMENT, TIMEOUT_S, WarmTraining
from tests.train.worker import free_port
from zipperasr.train.checkpoint_files import load_tensors
from zipperasr.train.checkpoints import CHECKSUMS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def training(tiny_recipe, tmp_path):
    """Start the training `sft` of the session fixtures in separate processes, with a checkpoint after every step."""
    running = []

    def start(others: Path, *launcher: str, packs: int = 2) -> subprocess.Popen | WarmTraining:
        """others: directory of the session fixture with the same number of processes. No launcher: one process."""
        paths = options(tiny_recipe, config="conf/sft.yaml", manifest="dump/manifest", lid="exp/lid")
        arguments = ["--phase", "sft", "--out", str(tmp_path / "sft"), *paths, "--init", str(others / "align")]
        arguments += ["--lora", "zipper_soft", "--set", f"packs_per_batch={packs}", "save_every=1"]
        if not launcher:
            running.append(WarmTraining(arguments, tmp_path / "log"))
            return running[-1]
        command = [*launcher, "-m", "zipperasr.stages.train", *arguments]
        environment = {**os.environ, **ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with (tmp_path / "log").open("a") as log:
            running.append(
                subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
            )
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for_step(process: subprocess.Popen | WarmTraining, out: Path, step: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not (out / "checkpoints" / f"step-{step}").exists():
        assert process.poll() is None and time.monotonic() < deadline, (out.parent / "log").read_text()[-3000:]
        time.sleep(0.005)


def assert_equal(one: Path, other: Path) -> None:
    one, other = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert one.keys() == other.keys()
    assert [name for name, tensor in one.items() if not torch.equal(tensor, other[name])] == []


def test_a_training_killed_repeatedly_ends_bit_identical(training, one_process, tmp_path):
    out, log = tmp_path / "sft", tmp_path / "log"
    for step in (1, 5):
        process = training(one_process)
        wait_for_step(process, out, step)
        process.kill()
        process.wait()
    newest = max((out / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
    damaged = next(newest.glob("*optim*"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)

    assert training(one_process).wait(TIMEOUT_S) == 0, log.read_text()[-3000:]

    assert f"{newest}: {damaged.name} is damaged; skipped" in log.read_text()
    assert f"resuming from step {int(newest.name[5:]) - 1}" in log.read_text()
    assert_equal(out, one_process / "sft")
    assert (out / "dev.jsonl").read_text() == (one_process / "sft" / "dev.jsonl").read_text()


@pytest.mark.parametrize("ranks", [1, 2])
def test_sigterm_saves_and_exits_with_75_and_the_training_resumes(training, request, tmp_path, ranks):
    out, log = tmp_path / "sft", tmp_path / "log"
    others = request.getfixturevalue("one_process" if ranks == 1 else "two_ranks")
    launcher = () if ranks == 1 else ("bash", "utils/launch.sh", "--nproc", "2")
    process = training(others, *launcher, packs=2 // ranks)
    wait_for_step(process, out, 1)
    process.send_signal(signal.SIGTERM)

    assert process.wait(TIMEOUT_S) == 75, log.read_text()[-3000:]
    assert "interrupted after step" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert training(others, *launcher, packs=2 // ranks).wait(TIMEOUT_S) == 0, log.read_text()[-3000:]
    assert_equal(out, others / "sft")


def test_sigterm_to_every_process_of_a_stage_exits_with_75(training, two_ranks, tmp_path):
    """The runner, the stage clock, the launcher, torchrun and the ranks get the signal, some of them twice."""
    out, log = tmp_path / "sft", tmp_path / "log"
    clock = [sys.executable, "-m", "zipperasr.stages.clock", "--table", str(tmp_path / "stages.tsv"), "--stage", "6"]
    runner = ["bash", "utils/run.sh", str(tmp_path / "stage.log"), *clock, "--description", "adaptation", "--"]
    process = training(two_ranks, *runner, "bash", "utils/launch.sh", "--nproc", "2", packs=1)
    wait_for_step(process, out, 1)
    os.killpg(process.pid, signal.SIGTERM)

    assert process.wait(TIMEOUT_S) == 75, log.read_text()[-3000:]
    assert "interrupted after step" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert "# Ended (code 75)" in (tmp_path / "stage.log").read_text()


def test_two_machines_stop_together_and_train_like_two_processes_on_one(training, two_ranks, tmp_path):
    """Two launchers, as on two machines with a shared directory; only one of them receives SIGTERM."""
    out, log = tmp_path / "sft", tmp_path / "log"

    def start() -> list[subprocess.Popen]:
        machines = ["bash", "utils/launch.sh", "--num_nodes", "2", "--master", f"localhost:{free_port()}"]
        return [training(two_ranks, *machines, "--node_rank", str(number), packs=1) for number in range(2)]

    launchers = start()
    wait_for_step(launchers[0], out, 1)
    launchers[1].send_signal(signal.SIGTERM)
    assert [launcher.wait(TIMEOUT_S) for launcher in launchers] == [75, 75], log.read_text()[-3000:]

    assert [launcher.wait(TIMEOUT_S) for launcher in start()] == [0, 0], log.read_text()[-3000:]
    assert_equal(out, two_ranks / "sft")


def test_a_global_batch_that_does_not_divide_among_the_processes_is_refused_in_one_line(
    training, one_process, tmp_path
):
    out, log = tmp_path / "sft", tmp_path / "log"
    process = training(one_process)
    wait_for_step(process, out, 1)
    process.kill()
    process.wait()
    newest = max((out / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
    facts = json.loads((newest / CHECKSUMS).read_text())
    assert facts.pop("packs_per_step") == 2
    (newest / CHECKSUMS).write_text(json.dumps(facts))  # as an earlier version saved it

    assert training(one_process, "bash", "utils/launch.sh", "--nproc", "3").wait(TIMEOUT_S) == 1

    (line,) = (line for line in log.read_text().splitlines() if "error:" in line)
    assert f"{newest}: its global batch of 2 packs cannot be divided among 3 processes; use 2, or remove " in line
    assert "Traceback" not in log.read_text()


def another_version(checkpoint: Path) -> None:
    """Rename a field of the log window, as another version may have saved it."""
    (path,) = checkpoint.glob("*model_states.pt")
    content = load_tensors(str(path))
    content["window"]["places"] = content["window"].pop("positions")
    torch.save(content, path)
    facts = json.loads((checkpoint / CHECKSUMS).read_text())
    facts["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (checkpoint / CHECKSUMS).write_text(json.dumps(facts))


def other_parameters(checkpoint: Path) -> None:
    facts = json.loads((checkpoint / CHECKSUMS).read_text())
    (checkpoint / CHECKSUMS).write_text(json.dumps({**facts, "trained": [*facts["trained"], "another.weight"]}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (another_version, "its log window has loss, labels, samples, filled, seconds, flops, places, wanted loss, "),
        (other_parameters, "saved with a different set of trainable parameters (another.weight); remove "),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line(training, one_process, tmp_path, change, message):
    out, log = tmp_path / "sft", tmp_path / "log"
    process = training(one_process)
    wait_for_step(process, out, 1)
    process.kill()
    process.wait()
    newest = max((out / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
    change(newest)

    assert training(one_process).wait(TIMEOUT_S) == 1

    (line,) = (line for line in log.read_text().splitlines() if "error:" in line)
    assert f"{newest}: {message}" in line and line.endswith(f"remove {out / 'checkpoints'} to start over")
    assert "Traceback" not in log.read_text()


def test_a_full_disk_is_one_error_line_and_training_resumes_once_space_is_freed(training, one_process, tmp_path):
    """On a small tmpfs, filled by a file except for the space that the curves need."""
    out, log = tmp_path / "sft", tmp_path / "log"
    out.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(out)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small tmpfs needs the right to mount: {mounted.stderr.strip()}")
    try:
        process = training(one_process)
        wait_for_step(process, out, 1)
        process.kill()
        process.wait()
        (out / "filler").write_bytes(bytes(os.statvfs(out).f_bavail * os.statvfs(out).f_frsize - 100_000))

        assert training(one_process).wait(TIMEOUT_S) == 1

        lines = [line for line in log.read_text().splitlines() if "error:" in line]
        assert len(lines) == 1 and "cannot write" in lines[0] and "free disk space and rerun" in lines[0], lines
        assert "Traceback" not in log.read_text()
        assert not list(out.glob("checkpoints/.step-*"))
        (out / "filler").unlink()
        assert training(one_process).wait(TIMEOUT_S) == 0, log.read_text()[-3000:]
        assert_equal(out, one_process / "sft")
    finally:
        subprocess.run(["umount", str(out)], check=True)
