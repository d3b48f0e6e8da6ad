"""Concurrent requests: limits, timeouts, disconnecting clients, failures, the end, temporary files."""

from __future__ import annotations

import io
import os
import socket
import tempfile
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.model import tiny
from tests.serve.live import NAME, WAIT_S, Live, recording, request, running
from zipperasr.decode.decoder import Decoder
from zipperasr.serve import upload
from zipperasr.serve.limits import Limits
from zipperasr.serve.service import Service
from zipperasr.transcribe.live import LiveTranscriber
from zipperasr.transcribe.sources import decoded_blocks

SPEECH = recording(0.5)


class GatedLive(LiveTranscriber):
    """Holds the model after it has taken the first pieces."""

    def __init__(self, *arguments):
        self.gate, self.reached = threading.Event(), threading.Event()
        super().__init__(*arguments)

    def _take(self, *arguments):
        batch = super()._take(*arguments)
        if batch:
            self.reached.set()
            while not self.gate.wait(0.01):
                self._check()
        return batch


class Gated(Service):
    """The service with a gate in front of the model."""

    def __init__(self, transcriber, name, limits):
        super().__init__(transcriber, name, limits)
        self.live.close()
        self.live = GatedLive(transcriber, limits.max_running)
        self.gate, self.reached = self.live.gate, self.live.reached


def gated(transcriber, **limits) -> Gated:
    return Gated(transcriber, NAME, Limits(max_mb=4, **limits))


def wait_for_requests(live: Live, number: int) -> None:
    wait_for("requests", live, number)


def wait_for(field: str, live: Live, number: int) -> None:
    """Wait until /health has this number."""
    end = time.monotonic() + WAIT_S
    while (found := live.client.get("/health").json())[field] != number:
        assert time.monotonic() < end, f"wanted {field} {number}, got {found}"


def test_requests_share_batches_and_each_gets_its_text(transcriber):
    service = gated(transcriber)
    with running(service) as live, ThreadPoolExecutor(6) as pool:
        languages = ["de", "es", "ja"] * 2
        asked = [pool.submit(live.post, recording(0.5, seed=n), language=code) for n, code in enumerate(languages)]
        wait_for_requests(live, 6)  # /health responds while the model is busy, so the event loop is free
        wait_for("running", live, 6)
        service.gate.set()
        texts = [future.result().json()["text"] for future in asked]
        alone = [live.post(recording(0.5, seed=n), language=code).json()["text"] for n, code in enumerate(languages)]
        wait_for("rows_in_use", live, 0)
    assert texts == alone and len(set(texts)) == 3


def test_a_full_queue_says_when_to_retry(transcriber):
    service = gated(transcriber, max_running=1, max_waiting=1)
    with running(service) as live, ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(live.post, SPEECH) for _ in range(2)]
        wait_for_requests(live, 2)
        wait_for("waiting", live, 1)
        response = live.post(SPEECH)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert response.json()["error"]["message"] == "busy: 2 requests are being processed or waiting; try again later"
        service.gate.set()
        assert [future.result().status_code for future in asked] == [200, 200]
        assert live.post(SPEECH).status_code == 200


def test_a_request_that_takes_too_long_gets_a_response_and_is_stopped(transcriber):
    service = gated(transcriber, timeout_s=0.3)
    with running(service) as live:
        response = live.post(SPEECH)
        assert response.status_code == 504
        error = response.json()["error"]
        assert error["message"].startswith("no answer within 0.3 s") and error["code"] == "timeout"
        wait_for_requests(live, 0)
        wait_for("running", live, 0)
        service.gate.set()
        wait_for("rows_in_use", live, 0)


def test_a_disconnecting_client_frees_the_model(transcriber):
    service = gated(transcriber)
    with running(service) as live:
        with socket.create_connection(("127.0.0.1", live.port)) as client:
            client.sendall(request(SPEECH))
            assert service.reached.wait(WAIT_S)
        wait_for_requests(live, 0)
        wait_for("running", live, 0)
        service.gate.set()
        assert live.post(SPEECH).status_code == 200
        wait_for("rows_in_use", live, 0)


def test_a_stopped_request_leaves_the_model_unchanged(transcriber):
    samples = tiny.noise(40 * 16_000, seed=3).numpy()
    before = transcriber(samples, "de")
    service = gated(transcriber)
    asked = service.live.submit(samples, "de")
    assert service.reached.wait(WAIT_S)
    asked.future.cancel()
    service.gate.set()
    service.close()
    assert transcriber(samples, "de") == before


def test_a_failing_batch_is_an_error_for_its_requests_only(transcriber, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("a secret")

    with running(Service(transcriber, NAME, Limits())) as live:
        with monkeypatch.context() as broken:
            broken.setattr(Decoder, "_encode_batch", fail)
            response = live.post(SPEECH)
        assert response.status_code == 500
        error = response.json()["error"]
        assert error["message"] == "internal error (RuntimeError) in a batch with this audio; see the server's log"
        assert (error["type"], error["code"]) == ("server_error", "model_error")
        assert "RuntimeError: a secret" in capsys.readouterr().err
        assert live.post(SPEECH).status_code == 200


def test_a_server_that_stops_refuses_waiting_and_new_requests_and_finishes_running_ones(transcriber):
    service = gated(transcriber, max_running=1, max_waiting=4)
    with running(service) as live, ThreadPoolExecutor(3) as pool:
        first = pool.submit(live.post, SPEECH)
        assert service.reached.wait(WAIT_S)
        waiting = pool.submit(live.post, SPEECH)
        wait_for("waiting", live, 1)
        service.refuse_further()
        for refused in (waiting.result(), live.post(SPEECH)):
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "shutting_down"
        service.gate.set()
        assert first.result().status_code == 200


def bomb(seconds: int) -> bytes:
    """Silence in 8 channels at 192 kHz: small to send, but 1.5 million samples per second to decode."""
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", 192_000, 8, format="FLAC") as recording:
        for _ in range(seconds):
            recording.write(np.zeros((192_000, 8), dtype=np.int16))
    return stream.getvalue()


def test_the_timeout_applies_while_audio_is_decoded(transcriber, monkeypatch):
    """The response is sent after the block in which the timeout expires."""
    data, timeout_s, seen = bomb(30), 1.0, []

    def slow(*arguments, decode=decoded_blocks):
        for block in decode(*arguments):
            if not seen:
                time.sleep(1.5 * timeout_s)
            seen.append(len(block))
            yield block

    blocks = sum(1 for _ in decoded_blocks(io.BytesIO(data), "bomb.flac"))
    monkeypatch.setattr(upload, "decoded_blocks", slow)
    with running(gated(transcriber, timeout_s=timeout_s)) as live:
        response = live.post(data, "bomb.flac")
        wait_for_requests(live, 0)
    assert response.status_code == 504
    assert response.json()["error"]["message"].startswith("no answer within ")
    assert blocks > 45 and len(seen) < 20
    assert not live.service.reached.is_set()


def test_a_disconnecting_client_stops_the_decoding_of_its_audio(transcriber, monkeypatch):
    seen = []

    def counted(*arguments, decode=decoded_blocks):
        for block in decode(*arguments):
            seen.append(len(block))
            yield block

    monkeypatch.setattr(upload, "decoded_blocks", counted)
    service = gated(transcriber)
    with running(service) as live:
        with socket.create_connection(("127.0.0.1", live.port)) as client:
            client.sendall(request(bomb(30)))
            while not seen:
                time.sleep(0.001)
        wait_for_requests(live, 0)
        assert len(seen) < 40 and not service.reached.is_set()
        assert service.uploads.held_bytes == 0


def open_temporary_files() -> list[str]:
    """Unnamed files in the temporary directory that this process has open."""
    links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [link for link in links if link.startswith(tempfile.gettempdir()) and link.endswith("(deleted)")]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc to list unnamed files")
def test_an_upload_leaves_no_files(transcriber, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []

    def look(*arguments, decode=upload.samples_of):
        seen.append(len(open_temporary_files()))
        return decode(*arguments)

    monkeypatch.setattr(upload, "samples_of", look)
    with running(gated(transcriber, max_s=60)) as live:
        live.service.gate.set()
        long = recording(50)  # 1.6 MB, more than is kept in memory
        answers = [live.post(long), live.post(bytes(2**21)), live.post(bytes(5 * 2**20)), live.post(recording(61))]
        assert [answer.status_code for answer in answers] == [200, 400, 413, 413]
        wait_for_requests(live, 0)
    assert seen == [1, 1, 1]
    assert open_temporary_files() == [] and list(tmp_path.iterdir()) == []


def test_an_upload_is_in_memory_once_while_it_is_decoded():
    """Kilobytes of silence decode to 38 MB."""
    for rate, channels in ((16_000, 1), (48_000, 2)):
        stream = io.BytesIO()
        soundfile.write(stream, np.zeros((599 * rate, channels), np.int16), rate, format="FLAC")
        tracemalloc.start()
        try:
            *_, samples = upload.samples_of(upload.Upload({}, {}, "a.flac", stream), Limits())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert abs(len(samples) - 599 * 16_000) <= 2 and samples.nbytes < peak < samples.nbytes + 12e6


def test_samples_are_all_there_if_the_header_claims_fewer(monkeypatch):
    monkeypatch.setattr(upload, "_header_duration_s", lambda _: 0.7)
    data = recording(31.0)
    (*_, samples) = upload.samples_of(upload.Upload({}, {}, "a.wav", io.BytesIO(data)), Limits())
    assert np.array_equal(samples, np.concatenate(list(decoded_blocks(io.BytesIO(data), "a.wav"))))


def test_no_more_uploads_are_decoded_at_once_than_there_are_cores(transcriber, monkeypatch):
    running_now, most, lock = 0, 0, threading.Lock()

    def counted(source, name, *bounds):
        nonlocal running_now, most
        blocks = decoded_blocks(source, name, *bounds)
        while True:
            with lock:
                running_now += 1
                most = max(most, running_now)
            time.sleep(0.01)
            block = next(blocks, None)
            with lock:
                running_now -= 1
            if block is None:
                return
            yield block

    monkeypatch.setattr(upload, "decoded_blocks", counted)
    cores = len(os.sched_getaffinity(0))
    with running(gated(transcriber)) as live, ThreadPoolExecutor(cores + 4) as pool:
        live.service.gate.set()
        long = [pool.submit(live.post, bomb(15), "long.flac", language="de") for _ in range(cores + 4)]
        assert [one.result().status_code for one in long] == [200] * (cores + 4)
    assert most == cores


def test_a_short_upload_is_decoded_before_the_end_of_long_ones(transcriber, monkeypatch):
    """Uploads alternate, block by block; the short one arrives when all threads have long ones."""
    begun, done, ended = threading.Semaphore(0), threading.Event(), []

    def noted(source, name, *bounds):
        begun.release()
        for number, block in enumerate(decoded_blocks(source, name, *bounds)):
            if name == "long.flac" and number == 20:
                assert done.wait(WAIT_S), "the short one waited"
            yield block
        ended.append(name)
        if name == "short.wav":
            done.set()

    monkeypatch.setattr(upload, "decoded_blocks", noted)
    cores = len(os.sched_getaffinity(0))
    data = bomb(19)  # 31 blocks
    with running(gated(transcriber)) as live, ThreadPoolExecutor(cores + 3) as pool:
        live.service.gate.set()
        long = [pool.submit(live.post, data, "long.flac", language="de") for _ in range(cores + 2)]
        for _ in range(cores):
            begun.acquire()
        assert live.post(SPEECH, "short.wav", language="de").status_code == 200
        assert [one.result().status_code for one in long] == [200] * (cores + 2)
    assert ended == ["short.wav", *["long.flac"] * (cores + 2)]
