"""Clients that send slowly, incompletely or nothing are disconnected in time and do not block others."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.serve.live import NAME, WAIT_S, Live, recording, request, rest, running
from zipperasr.decode.decoder import Decoder
from zipperasr.serve import connections
from zipperasr.serve.limits import Limits
from zipperasr.serve.service import Service

SPEECH = recording(0.5)
READ_TIMEOUT_S = 0.4
HALF = request(SPEECH)[:-1000]


@pytest.fixture(scope="module")
def hasty(transcriber) -> Iterator[Live]:
    """A server with a read timeout of 0.4 s."""
    with running(Service(transcriber, NAME, Limits(max_mb=1, read_timeout_s=READ_TIMEOUT_S))) as live:
        yield live


def connected(live: Live) -> socket.socket:
    return socket.create_connection(("127.0.0.1", live.port), WAIT_S)


def error(answer: bytes) -> dict:
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def test_idle_uploads_do_not_block_other_clients(transcriber):
    with running(Service(transcriber, NAME, Limits(max_running=1, max_waiting=0))) as live, ExitStack() as idle:
        for _ in range(20):
            idle.enter_context(connected(live)).sendall(HALF)
        while live.service.uploads.num_held < 20:
            time.sleep(0.01)
        assert live.post(SPEECH).status_code == 200
        assert live.client.get("/health").json()["requests"] == 0


def test_a_stalled_upload_gets_an_error_and_is_disconnected(hasty):
    start = time.monotonic()
    with connected(hasty) as client:
        client.sendall(HALF)
        answer = rest(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert READ_TIMEOUT_S <= time.monotonic() - start < WAIT_S
    found = error(answer)
    assert found["code"] == "upload_timeout"
    wanted = r"the upload stopped or is too slow: \d+ bytes so far, and less than 4096 bytes/s in the last 0.4 s; "
    assert re.match(wanted, found["message"])
    assert (hasty.service.uploads.held_bytes, hasty.service.uploads.num_held) == (0, 0)


@pytest.mark.parametrize("sent", [HALF, b"POST /v1/audio/tran"], ids=["body", "headers"])
def test_a_request_sent_byte_by_byte_is_disconnected(hasty, sent):
    start = time.monotonic()
    with connected(hasty) as client:
        client.sendall(sent)
        client.settimeout(0.05)
        while True:
            try:
                client.sendall(b"x")
                if not client.recv(65536):
                    break
            except TimeoutError:
                assert time.monotonic() - start < WAIT_S
            except ConnectionError:
                break
    assert time.monotonic() - start >= READ_TIMEOUT_S


@pytest.mark.parametrize("sent", [b"", b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n"])
def test_unterminated_headers_are_disconnected(hasty, sent):
    with connected(hasty) as client:
        client.sendall(sent)
        assert rest(client) == b""


def test_the_headers_of_a_second_request_have_a_timeout(hasty):
    with connected(hasty) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        start = time.monotonic()
        client.sendall(b"GET /health HTTP/1.1\r\nHo")
        assert b"HTTP/1.1" not in rest(client)
        assert time.monotonic() - start >= READ_TIMEOUT_S


def test_a_client_that_continues_a_rejected_upload_is_disconnected(hasty):
    with connected(hasty) as client:
        client.sendall(b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
        assert b" 405 " in client.recv(65536)
        client.settimeout(0.05)
        end = time.monotonic() + WAIT_S
        with pytest.raises(ConnectionError):
            while time.monotonic() < end:
                client.sendall(b"x")
                time.sleep(0.05)


def test_a_slow_upload_is_read_completely(hasty):
    """It sends 10 kB/s for three times as long as the server waits for a silent client."""
    body = request(recording(0.4))
    with connected(hasty) as client:
        for start in range(0, len(body), 1000):
            client.sendall(body[start : start + 1000])
            time.sleep(0.1)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_the_response_may_take_longer_than_the_read_timeout(hasty, monkeypatch):
    encode = Decoder._encode_batch
    monkeypatch.setattr(Decoder, "_encode_batch", lambda *some: (time.sleep(2 * READ_TIMEOUT_S), encode(*some))[1])
    assert hasty.post(SPEECH).status_code == 200


def test_of_too_many_silent_connections_the_oldest_is_closed(transcriber, monkeypatch):
    monkeypatch.setattr(connections, "MAX_SILENT", 4)
    with running(Service(transcriber, NAME, Limits())) as live, ExitStack() as idle:
        clients = [idle.enter_context(connected(live)) for _ in range(5)]
        assert rest(clients[0]) == b""
        assert live.post(SPEECH).status_code == 200
        clients[-1].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert clients[-1].recv(65536).startswith(b"HTTP/1.1 200")


def test_the_total_size_of_uploads_is_limited(transcriber):
    """The limit is twice the largest upload for each slot."""
    large = request(bytes(2**20))[:-1000]
    with running(Service(transcriber, NAME, Limits(max_mb=1, max_running=1, max_waiting=0))) as live:
        with ExitStack() as idle:
            clients = [idle.enter_context(connected(live)) for _ in range(3)]
            for client in clients[:2]:
                client.sendall(large)
            while live.service.uploads.held_bytes < 2 * 2**20 - 4000:
                time.sleep(0.01)
            clients[2].sendall(large)
            assert clients[2].recv(65536).startswith(b"HTTP/1.1 503")
        end = time.monotonic() + WAIT_S
        while live.service.uploads.held_bytes:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert live.post(SPEECH).status_code == 200
