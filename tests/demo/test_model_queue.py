"""Requests side by side: order, bounds, time-outs, clients that go, temporary files."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.demo.live import NAME, WAIT_S, Live, recording, running
from tests.model import tiny
from zipperasr.demo import api
from zipperasr.demo.limits import Limits
from zipperasr.demo.service import GivenUp, Service

SPEECH = recording(0.5)


class Gated(Service):
    """The service with a gate before the model."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.gate, self.reached, self.stopped = (threading.Event() for _ in range(3))
        self.at_once, self.most_at_once = 0, 0

    def _transcribe(self, samples, lang, stop):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.reached.set()
        try:
            while not self.gate.wait(0.01):
                if stop.is_set():
                    self.stopped.set()
                    raise GivenUp
            return super()._transcribe(samples, lang, stop)
        finally:
            self.at_once -= 1


def gated(transcriber, **limits) -> Gated:
    return Gated(transcriber, NAME, Limits(max_mb=4, **limits))


def wait_for_requests(live: Live, number: int) -> None:
    end = time.monotonic() + WAIT_S
    while live.client.get("/health").json()["requests"] != number:
        assert time.monotonic() < end, f"never {number} requests"


def test_requests_take_turns_and_all_are_answered(transcriber):
    service = gated(transcriber, max_waiting=8)
    with running(service) as live, ThreadPoolExecutor(6) as pool:
        languages = ["de", "es", "ja"] * 2
        asked = [pool.submit(live.post, recording(0.5, seed=n), language=code) for n, code in enumerate(languages)]
        wait_for_requests(live, 6)  # /health answers while the model works: the loop is free
        service.gate.set()
        texts = [future.result().json()["text"] for future in asked]
        alone = [live.post(recording(0.5, seed=n), language=code).json()["text"] for n, code in enumerate(languages)]
    assert texts == alone and len(set(texts)) == 3
    assert service.most_at_once == 1


def test_when_all_places_are_taken_it_says_when_to_come_again(transcriber):
    service = gated(transcriber, max_waiting=1)
    with running(service) as live, ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(live.post, SPEECH) for _ in range(2)]
        wait_for_requests(live, 2)
        response = live.post(SPEECH)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert response.json()["error"]["message"] == "busy: 2 requests are at work or waiting; try again later"
        service.gate.set()
        assert [future.result().status_code for future in asked] == [200, 200]
        assert live.post(SPEECH).status_code == 200


def test_a_request_that_takes_too_long_is_answered_and_stopped(transcriber):
    service = gated(transcriber, timeout_s=0.3)
    with running(service) as live:
        response = live.post(SPEECH)
        assert response.status_code == 504
        error = response.json()["error"]
        assert error["message"].startswith("no answer within 0.3 s") and error["code"] == "timeout"
        assert service.stopped.wait(WAIT_S)
        wait_for_requests(live, 0)


def test_a_client_that_goes_frees_the_model(transcriber):
    service = gated(transcriber)
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + SPEECH + b"\r\n--x--\r\n"
    head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with running(service) as live:
        with socket.create_connection(("127.0.0.1", live.port)) as client:
            client.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + body)
            assert service.reached.wait(WAIT_S)
        assert service.stopped.wait(WAIT_S)
        wait_for_requests(live, 0)
        service.gate.set()
        assert live.post(SPEECH).status_code == 200


def test_work_that_is_stopped_leaves_the_model_as_it_was(transcriber):
    service = Service(transcriber, NAME, Limits())
    samples = tiny.noise(40 * 16_000, seed=3).numpy()
    before = transcriber(samples, "de")
    stop = threading.Event()
    stop.set()
    with pytest.raises(GivenUp):
        service._transcribe(samples, "de", stop)
    assert transcriber(samples, "de") == before


def open_temporary_files() -> list[str]:
    """Files without a name that this process holds open in the temporary directory."""
    links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [link for link in links if link.startswith(tempfile.gettempdir()) and link.endswith("(deleted)")]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc to see files without a name")
def test_nothing_is_left_of_an_upload(transcriber, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []

    def look(upload, limits, decode=api.samples_of):
        seen.append(len(open_temporary_files()))
        return decode(upload, limits)

    monkeypatch.setattr(api, "samples_of", look)
    with running(gated(transcriber, max_s=60)) as live:
        live.service.gate.set()
        long = recording(50)  # 1.6 MB: more than is kept in memory
        answers = [live.post(long), live.post(bytes(2**21)), live.post(bytes(5 * 2**20)), live.post(recording(61))]
        assert [answer.status_code for answer in answers] == [200, 400, 413, 413]
        wait_for_requests(live, 0)
    assert seen == [1, 1, 1]
    assert open_temporary_files() == [] and list(tmp_path.iterdir()) == []
