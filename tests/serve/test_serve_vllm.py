"""`zipperasr serve --engine vllm` with the LLM divided between two processes, which end with the server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import ROOT
from tests.decode.test_vllm import backbones
from tests.serve.live import as_file
from tests.transcribe.conftest import write_trained
from tests.transcribe.sound import noise
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.defaults import SERVED

__all__ = ["backbones"]

PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
WAIT_S = 300  # upper limit for waiting; not a measurement


@contextmanager
def started(model: Path, log: Path) -> Iterator[tuple[subprocess.Popen, httpx.Client]]:
    environment = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "VLLM_CPU_KVCACHE_SPACE": "1"}
    options = ["--model", model, "--port", "0", "--grace_s", "2", "--engine", "vllm", "--tensor_parallel", "2"]
    command = [PYTHON, "-m", "zipperasr", "serve", *options]
    with log.open("w") as stream, subprocess.Popen(command, env=os.environ | environment, stderr=stream) as server:
        try:
            while not (found := re.search(r"open (http://127\.0\.0\.1:\d+);", log.read_text())):
                assert server.poll() is None, log.read_text()
                time.sleep(0.2)
            with httpx.Client(base_url=found[1], timeout=WAIT_S) as client:
                yield server, client
        finally:
            server.kill()


def test_requests_share_batches_and_sigterm_ends_all_processes(backbones, tmp_path):
    if not (ROOT / ".venv-vllm" / "vllm.txt").is_file():
        pytest.skip("no .venv-vllm; run tools/install_vllm.sh (minutes, 4 GB)")
    model = write_trained(backbones, tmp_path)
    own = Transcriber.from_pretrained(model, "cpu", SERVED)
    asked = [(noise(0.5 + 0.4 * n, n), ("de", "es", "ja")[n % 3]) for n in range(6)]
    with started(model, tmp_path / "log") as (server, client):

        def post(samples, lang, **fields):
            fields = {"language": lang, **fields}
            return client.post("/v1/audio/transcriptions", files={"file": ("a.wav", as_file(samples))}, data=fields)

        with ThreadPoolExecutor(len(asked)) as pool:
            answers = list(pool.map(lambda one: post(*one).json()["text"], asked))
        assert answers == [own(samples, lang).text for samples, lang in asked]
        assert post(*asked[1], **{"include[]": "logprobs"}).json()["logprobs"]
        refused = post(*asked[1], prompt="Zorblat")
        assert refused.status_code == 400
        assert "hints need this project's own greedy search" in refused.json()["error"]["message"]
        workers = psutil.Process(server.pid).children(recursive=True)
        assert len(workers) >= 2
        server.send_signal(signal.SIGTERM)
        assert server.wait(WAIT_S) == -signal.SIGTERM
        _, alive = psutil.wait_procs(workers, WAIT_S)
        assert not alive
    assert "Traceback" not in (tmp_path / "log").read_text(), (tmp_path / "log").read_text()
