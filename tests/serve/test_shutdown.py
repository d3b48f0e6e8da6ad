"""Ctrl-C and SIGTERM during requests: no traceback, and every request gets a response."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.serve.live import WAIT_S, recording, request, rest


@contextmanager
def started(model_dir: Path, log: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    """A server in a separate process, and its port."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "zipperasr", "serve", "--model", str(model_dir), "--port", "0", "--grace_s", "2"]
    with log.open("w") as stream, subprocess.Popen(command, env=environment, stderr=stream) as server:
        try:
            while not (found := re.search(r"open http://127\.0\.0\.1:(\d+);", log.read_text())):
                assert server.poll() is None, log.read_text()
                time.sleep(0.05)
            yield server, int(found[1])
        finally:
            server.kill()


@pytest.mark.parametrize(
    ("signals", "status"),
    [([signal.SIGINT], 0), ([signal.SIGINT, signal.SIGINT], 0), ([signal.SIGTERM], -signal.SIGTERM)],
    ids=["ctrl-c", "ctrl-c twice", "sigterm"],
)
def test_requests_are_ended_without_a_traceback(model_dir, tmp_path, signals, status):
    log = tmp_path / "log"
    long = request(recording(590, "FLAC"))
    with started(model_dir, log) as (server, port), ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(5)]
        for connection in connections:
            connection.settimeout(WAIT_S)
        *sent, uploading = connections
        for connection in sent:  # one is being transcribed, the others are queued
            connection.sendall(long)
        end = time.monotonic() + WAIT_S
        while httpx.get(f"http://127.0.0.1:{port}/health").json()["requests"] < len(sent) - 1:
            assert time.monotonic() < end
            time.sleep(0.05)
        uploading.sendall(long[:2000])
        time.sleep(0.2)
        for number in signals:
            server.send_signal(number)
            time.sleep(0.3)
        answers = [rest(connection) for connection in connections]
        assert server.wait(WAIT_S) == status
    assert "Traceback" not in log.read_text(), log.read_text()
    assert "Exception" not in log.read_text(), log.read_text()
    refused = [
        answer for answer in answers if not answer.startswith(b"HTTP/1.1 200 ")
    ]  # the first one may have finished
    assert len(refused) >= 2
    assert refused[-1] == answers[-1]
    for answer in refused:
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"the server is shutting down; try again later"' in answer
