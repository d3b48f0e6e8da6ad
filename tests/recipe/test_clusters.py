"""The examples of docs/clusters.md: a job runner in cmd.sh, and a Kubernetes Job whose pods run one shard each."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from zipperasr.shards import ShardJob
from zipperasr.stages.decode import main as decode


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "clusters.md").read_text(encoding="utf-8")


def block(page: str, language: str) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)[0]


def test_the_job_runner_can_be_added_to_cmd_sh(page, root):
    script = (root / "egs2/TEMPLATE/asr1/cmd.sh").read_text(encoding="utf-8")
    assert "    *)\n" in script
    script = script.replace("    *)\n", block(page, "bash") + "    *)\n") + '\necho "${train_cmd}|${cuda_cmd}"'
    shown = subprocess.check_output(["bash", "-c", script], env={**os.environ, "CMD_BACKEND": "queue"}, text=True)
    assert shown == "queue.pl --mem 8G|queue.pl --mem 32G\n"


def test_a_pod_runs_the_shard_of_its_index(page, capsys):
    job = yaml.safe_load(block(page, "yaml"))
    pod = job["spec"]["template"]["spec"]["containers"][0]
    (script,) = pod["args"]
    assert [*pod["command"], ". ./path.sh" in script] == ["bash", "-c", True]
    # prints the module's arguments in place of running it
    script = f"python3() {{ printf '%s\\n' \"$@\"; }}\n{script.replace('. ./path.sh', '')}\necho ${{SHARDS_ATTEMPT}}"
    environment = {"JOB_COMPLETION_INDEX": "3", "HOSTNAME": "decode-3-x7k2p", "PATH": os.environ["PATH"]}
    *arguments, attempt = subprocess.check_output(["bash", "-c", script], env=environment, text=True).splitlines()
    assert attempt == "decode-3-x7k2p"
    assert arguments[:2] == ["-m", "zipperasr.stages.decode"]
    assert ShardJob.parse(arguments[-1]) == ShardJob(4, job["spec"]["completions"])
    with pytest.raises(SystemExit) as ended:
        decode([*arguments[2:], "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in arguments if word.startswith("--"))


def test_the_merge_is_of_as_many_shards(page):
    job = yaml.safe_load(block(page, "yaml"))
    assert f"--shard merge/{job['spec']['completions']}" in page
