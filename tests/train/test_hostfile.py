"""DeepSpeed's launcher with a host file of two machines: real pdsh, ssh and sshd; both names are this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.test_trainings import assert_equal_weights
from tests.train.tiny_recipe import options
from tests.train.worker import free_port

ROOT = Path(__file__).resolve().parents[2]
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
MISSING = [
    name for name, path in (("pdsh", shutil.which("pdsh")), ("sshd", SSHD), ("root", os.getuid() == 0)) if not path
]
TIMEOUT_S = 240

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs pdsh and a ssh server of its own: no {', '.join(MISSING)}"
)


@pytest.fixture
def ssh_directory(tmp_path):
    """A directory with an `ssh` that connects to this machine for any host name, via a server on a free port."""
    directory, port = tmp_path / "ssh", free_port()
    directory.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    shutil.copy(directory / "user.pub", directory / "authorized_keys")
    Path("/run/sshd").mkdir(exist_ok=True)
    settings = (
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\n"
        f"AuthorizedKeysFile {directory}/authorized_keys\nPermitRootLogin yes\nStrictModes no\n"
        f"UsePAM no\nPidFile {directory}/pid\n"
    )
    (directory / "sshd_config").write_text(settings)
    client = shutil.which("ssh")
    (directory / "ssh").write_text(
        f"#!/bin/sh\nexec {client} -p {port} -i {directory}/user -o StrictHostKeyChecking=no "
        f'-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "$@"\n'
    )
    (directory / "ssh").chmod(0o755)
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", directory / "sshd_config"], stderr=(directory / "log").open("w"))
    deadline = time.monotonic() + 10
    while socket.socket().connect_ex(("127.0.0.1", int(port))):
        assert server.poll() is None and time.monotonic() < deadline, (directory / "log").read_text()
        time.sleep(0.05)
    yield directory
    server.terminate()
    server.wait()


def test_two_machines_of_a_host_file_train_like_two_processes_on_one(ssh_directory, tiny_recipe, two_ranks, tmp_path):
    (tmp_path / "hosts").write_text("localhost slots=1\n127.0.0.1 slots=1\n")
    paths = options(tiny_recipe, config="conf/sft.yaml", manifest="dump/manifest", lid="exp/lid")
    command = [
        "bash", "utils/launch.sh", "--hostfile", str(tmp_path / "hosts"), "--master", f"127.0.0.1:{free_port()}",
        "-m", "zipperasr.stages.train", "--phase", "sft", "--out", str(tmp_path / "sft"), *paths,
        "--init", str(two_ranks / "align"), "--lora", "zipper_soft", "--set", "packs_per_batch=1",
    ]  # fmt: skip
    path = os.pathsep.join([str(ssh_directory), str(Path(sys.executable).parent), os.environ["PATH"]])
    (tmp_path / "passed_on").write_text("OMP_NUM_THREADS=1\n")
    environment = {
        **os.environ,
        "DS_ENV_FILE": str(tmp_path / "passed_on"),
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    assert_equal_weights(tmp_path / "sft", two_ranks / "sft", atol=0)
