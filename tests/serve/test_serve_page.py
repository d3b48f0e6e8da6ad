"""docs/serve.md: all examples run, and the table of limits has the program's defaults."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.serve.live import NAME, WAIT_S, Live, recording
from zipperasr.serve.limits import Limits

DOC = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
ADDRESS, MODEL = "http://127.0.0.1:8000", "sft_zipper_soft_chunked"
_EXAMPLE = re.compile(r"(?:^ {4}.*\n(?:\n(?= {4}))?)+", re.MULTILINE)


def examples(start: str) -> list[str]:
    """Indented blocks that start with the given text, without their indentation."""
    lines = [line for found in _EXAMPLE.findall(DOC) for line in re.split(r"\n(?=\n    curl|\n    \{)", found)]
    blocks = ["\n".join(line[4:] for line in block.strip("\n").split("\n")) for block in lines]
    return [block for block in blocks if block.startswith(start)]


@pytest.fixture
def speech(tmp_path, monkeypatch) -> None:
    (tmp_path / "speech.flac").write_bytes(recording(kind="FLAC"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl; on Debian: apt install curl")
@pytest.mark.parametrize(
    ("number", "wanted"), [(0, '{"text":"'), (1, "1\n00:00:00,000 --> 00:00:01,500\n"), (-1, '{"error":{"message":')]
)
def test_the_curl_examples_work(live: Live, speech, number, wanted):
    command = examples("curl")[number].replace(ADDRESS, live.url)
    done = subprocess.run([*shlex.split(command), "-sS"], capture_output=True, text=True, timeout=WAIT_S)
    assert done.stdout.startswith(wanted), done.stderr
    if number == -1:
        (shown,) = (json.loads(block)["error"] for block in examples("{"))
        error = json.loads(done.stdout)["error"]
        assert error["message"].startswith(shown["message"].removesuffix("..."))
        assert {**error, "message": ""} == {**shown, "message": ""}


def test_the_example_with_openais_client_works(live: Live, speech):
    pytest.importorskip("openai", reason="openai is not installed; run pip install -e '.[dev]'")
    (example,) = examples("from openai")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example.replace(ADDRESS, live.url).replace(MODEL, NAME), "serve.md", "exec"), {})
    lines = printed.getvalue().splitlines()
    assert lines[0].split()[0] in {"german", "spanish", "japanese"}
    assert lines[-1].startswith("0.0 1.5 ")


def test_the_start_example_serves_until_interrupted(model_dir: Path, tmp_path):
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / MODEL).symlink_to(model_dir)
    (start,) = [line for line in examples("cd egs2")[0].splitlines() if line.startswith("zipperasr")]
    command = [sys.executable, "-m", *shlex.split(start), "--port", "0", "--allowed_hosts", "asr.example"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as server:
        seen = []
        try:
            for line in server.stderr:
                seen.append(line)
                if found := re.search(r"open (http://127\.0\.0\.1:\d+); Ctrl-C stops the server", line):
                    break
            assert found, seen
            assert httpx.get(f"{found[1]}/health", timeout=WAIT_S).json()["model"] == MODEL
            by_name = {
                host: httpx.get(f"{found[1]}/health", headers={"Host": host}) for host in ("asr.example", "b.org")
            }
            assert [answer.status_code for answer in by_name.values()] == [200, 403]
            server.send_signal(signal.SIGINT)
            assert server.wait(WAIT_S) == 0
        finally:
            server.kill()


def test_the_limits_equal_the_programs_defaults():
    limits = dict(re.findall(r"^\| `--(\w+)` \| (\d+) \|", DOC, re.MULTILINE))
    assert {name: float(value) for name, value in limits.items()} == vars(Limits())
