"""Clients that send or read slowly, incompletely or nothing are disconnected in time and do not block others."""

from __future__ import annotations

import json
import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.serve.live import NAME, WAIT_S, Live, recording, request, rest, running
from zipperasr.decode.decoder import Decoder
from zipperasr.serve import connections
from zipperasr.serve.limits import Limits
from zipperasr.serve.samples import Sample
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


GET = b"GET /assets/main.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def read_until(client: socket.socket, end: bytes) -> bytes:
    found = b""
    while not found.endswith(end):
        part = client.recv(65536)
        assert part, f"closed after {found!r}"
        found += part
    return found


def wait_for_connections(live: Live, number: int) -> None:
    end = time.monotonic() + WAIT_S
    while len(live.server.server_state.connections) != number:
        assert time.monotonic() < end, f"{len(live.server.server_state.connections)} are open, wanted {number}"
        time.sleep(0.01)


def narrow(live: Live) -> socket.socket:
    """A client whose system accepts little that it does not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.settimeout(WAIT_S)
    client.connect(("127.0.0.1", live.port))
    return client


def send_all_that_is_read(client: socket.socket, data: bytes) -> None:
    """Send until the server has read nothing for 0.2 s."""
    client.settimeout(0.2)
    with suppress(TimeoutError, ConnectionError):
        client.sendall(data)


def test_a_client_that_never_reads_is_disconnected(transcriber, monkeypatch):
    monkeypatch.setattr(connections, "SEND_S", 0.3)
    with running(Service(transcriber, NAME, Limits())) as live, narrow(live) as client:
        start = time.monotonic()
        send_all_that_is_read(client, GET * 100_000)
        wait_for_connections(live, 0)
        assert time.monotonic() - start >= 0.3


@pytest.mark.parametrize(
    "last", [GET, b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\n"], ids=["response", "handshake"]
)
def test_no_client_is_kept_whatever_part_of_the_last_response_it_leaves_unread(transcriber, monkeypatch, last):
    """Each client requests a little more, so the buffers of some are full after any part of a response."""
    monkeypatch.setattr(connections, "SEND_S", 0.3)
    monkeypatch.setattr(connections, "ANSWER_S", 0.3)
    upgrade = b"" if last == GET else b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with running(Service(transcriber, NAME, Limits())) as live, ExitStack() as clients:
        for number in range(0, 600, 15):
            client = clients.enter_context(narrow(live))
            client.sendall(GET * number + last + upgrade)
        wait_for_connections(live, 0)


def test_a_long_response_may_be_read_slowly(transcriber, monkeypatch):
    """It takes longer than a client that reads nothing is kept."""
    monkeypatch.setattr(connections, "SEND_S", 0.5)
    wav = bytes(16 * 2**20)
    service = Service(transcriber, NAME, Limits(), {"de": Sample("", wav)})
    with running(service) as live, connected(live) as client:
        client.sendall(b"GET /samples/de.wav HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        start, size = time.monotonic(), 0
        while part := client.recv(2**20, socket.MSG_WAITALL):
            size += len(part)
            time.sleep(0.1)
        assert size > len(wav) and time.monotonic() - start > 1.5


@pytest.mark.parametrize("sent", [b"", HEALTH], ids=["silent", "idle"])
def test_of_too_many_waiting_connections_the_oldest_is_closed(transcriber, monkeypatch, sent):
    monkeypatch.setattr(connections, "MAX_OPEN", 8)
    with running(Service(transcriber, NAME, Limits())) as live, ExitStack() as idle:
        clients = []
        for _ in range(5):
            clients.append(idle.enter_context(connected(live)))
            if sent:
                clients[-1].sendall(sent)
                assert read_until(clients[-1], b"}").startswith(b"HTTP/1.1 200")
        start = time.monotonic()
        rest(clients[0])
        assert time.monotonic() - start < 3, "uvicorn closes idle connections after 5 s"
        assert live.post(SPEECH).status_code == 200
        clients[-1].sendall(HEALTH)
        assert read_until(clients[-1], b"}").startswith(b"HTTP/1.1 200")


def test_beyond_the_limit_of_connections_requests_are_refused(transcriber, monkeypatch, capsys):
    monkeypatch.setattr(connections, "MAX_OPEN", 4)
    with running(Service(transcriber, NAME, Limits())) as live:
        with ExitStack() as idle:
            for number in range(4):
                idle.enter_context(connected(live)).sendall(HALF)
                end = time.monotonic() + WAIT_S
                while live.service.uploads.num_held <= number:
                    assert time.monotonic() < end
                    time.sleep(0.01)
            refused = live.post(SPEECH)
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "5" and refused.headers["connection"] == "close"
            assert refused.json()["error"]["message"] == "busy: 5 connections are open; try again later"
            handshake = b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            keys = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            with connected(live) as client:
                client.sendall(handshake + keys)
                assert rest(client).startswith(b"HTTP/1.1 503 ")
        wait_for_connections(live, 0)
        assert live.post(SPEECH).status_code == 200
    assert "request refused: busy: 5 connections are open" in capsys.readouterr().err


def test_the_limit_of_connections_leaves_file_descriptors(monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
        assert connections.max_open() == 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert connections.max_open() == connections.MAX_OPEN


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
