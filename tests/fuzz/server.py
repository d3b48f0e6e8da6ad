"""Mutated requests to a running server: it answers with a status below 500 or closes; it logs no fault.

Input: a directory. Output: `Target`s whose files contain the bytes of a request.
"""

from __future__ import annotations

import base64
import json
import logging
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

from websockets.sync.client import connect

from tests.fuzz.mutate import mutate_binary, mutate_text
from tests.fuzz.targets import Target
from tests.fuzz.tiny_models import write_models
from tests.serve.live import NAME, recording, running
from zipperasr.serve.limits import Limits
from zipperasr.serve.service import Service
from zipperasr.transcribe import Transcriber

BOUNDARY = "0123456789abcdef"
REFUSED_BY_LIMITS = (503, 504)
WAIT_S = 20


def server_targets(base: Path) -> Iterator[Target]:
    """One target per kind of request; the server lives as long as its targets."""
    transcriber = Transcriber.from_pretrained(write_models(base).routed, "cpu", regime="chunked")
    faults = _Faults()
    logging.getLogger("uvicorn.error").addHandler(faults)
    server = running(Service(transcriber, NAME, Limits(max_mb=1, max_s=20)))
    live = server.__enter__()
    for name, content in _requests().items():
        path = base / f"{name}.http"
        path.write_bytes(content)
        yield Target(f"server: {name}", (path,), partial(_ask, live.port, path, faults, server), _mutate)

    path = base / "realtime.jsonl"
    path.write_bytes("\n".join(map(json.dumps, _events())).encode())
    yield Target("server: realtime", (path,), partial(_talk, live.port, path, faults, server))


def _events() -> list[dict]:
    """Messages of a stream."""
    given = {"format": {"type": "audio/pcm", "rate": 16_000}, "transcription": {"model": NAME, "language": "de"}}
    audio = base64.b64encode(recording(0.5)[44:]).decode()
    return [
        {"type": "session.update", "session": {"type": "transcription", "audio": {"input": given}, "include": []}},
        {"type": "transcription_session.update", "session": {"input_audio_format": "pcm16", "turn_detection": None}},
        {"type": "input_audio_buffer.append", "event_id": "mine", "audio": audio},
        {"type": "input_audio_buffer.commit"},
        {"type": "input_audio_buffer.clear"},
    ]


def _talk(port: int, path: Path, faults: _Faults, server: object) -> None:
    """Send each line as a message. Raises ValueError if the server refuses any."""
    refused = ""
    with connect(f"ws://127.0.0.1:{port}/v1/realtime", max_queue=None) as client:
        for line in path.read_bytes().decode("utf-8", errors="replace").splitlines():
            client.send(line)
        client.send('{"type": "input_audio_buffer.commit", "event_id": "the end"}')
        client.send('{"type": "input_audio_buffer.commit", "event_id": "the end"}')  # has nothing to end: an error
        while (error := json.loads(client.recv(WAIT_S)).get("error", {})).get("event_id") != "the end":
            refused = error.get("message", refused)
            assert "\n" not in refused and error.get("code") != "model_error", error
    if faults.lines:
        raise RuntimeError(faults.lines.pop())
    if refused:
        raise ValueError(refused)


def _ask(port: int, path: Path, faults: _Faults, server: object) -> None:
    """`server` is kept alive as long as requests are sent."""
    status = _status(_answer(port, path.read_bytes()))
    if faults.lines:
        raise RuntimeError(faults.lines.pop())
    assert status is None or status < 500 or status in REFUSED_BY_LIMITS, status


class _Faults(logging.Handler):
    def __init__(self):
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def _requests() -> dict[str, bytes]:
    fields = {"model": NAME, "language": "de", "response_format": "verbose_json", "temperature": "0"}
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    body = "".join(parts).encode() + file.encode() + b"Content-Type: audio/wav\r\n\r\n" + recording(0.3)
    body += f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    plain = "GET /v1/models/sft_tiny HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return {"transcription": head.encode() + body, "model": plain.encode()}


def _mutate(good: bytes, random: Random) -> bytes:
    """The header as text, or the complete request as bytes."""
    head, blank, body = good.partition(b"\r\n\r\n")
    if random.random() < 0.5:
        return mutate_text(head, random) + blank + body
    return head + blank + mutate_binary(body, random) if body and random.random() < 0.5 else mutate_binary(good, random)


def _answer(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))
        except (ConnectionError, BrokenPipeError):
            return b""


def _status(answer: bytes) -> int | None:
    """Return the status; None: the connection was closed without a response."""
    words = answer.split(b" ", 2)
    return int(words[1]) if answer.startswith(b"HTTP/1.1 ") else None
