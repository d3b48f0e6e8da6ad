"""A real server in a thread of the test process."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
import numpy as np
import soundfile
import uvicorn

from tests.model import tiny
from zipperasr.serve.app import build_app
from zipperasr.serve.connections import http_server, listen
from zipperasr.serve.service import Service

NAME = "sft_tiny"
WAIT_S = 20  # upper limit for waiting; not a measurement


class Live:
    """A running server and its client."""

    def __init__(self, service: Service, server: uvicorn.Server, port: int):
        self.service, self.server, self.port = service, server, port
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=WAIT_S)

    def post(self, data: bytes, name: str = "speech.wav", **fields: str | list[str]) -> httpx.Response:
        """Post a recording with form fields."""
        return self.client.post("/v1/audio/transcriptions", files={"file": (name, data)}, data=fields)


@contextmanager
def running(
    service: Service, loopback: bool = True, keys: Sequence[str] = (), hosts: Sequence[str] = ()
) -> Iterator[Live]:
    """Run a server until the context ends."""
    with listen("127.0.0.1", 0) as listening:
        limits = service.limits
        server = http_server(
            build_app(service, loopback, keys, hosts),
            limits.read_timeout_s,
            limits.grace_s,
            service.refuse_further,
            log_level="critical",
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        live = Live(service, server, listening.getsockname()[1])
        try:
            while not server.started:
                thread.join(0.01)
            yield live
        finally:
            live.client.close()
            server.should_exit = True
            thread.join(WAIT_S)
            service.close()


def recording(seconds: float = 1.5, kind: str = "WAV", seed: int = 1, rate: int = 16_000) -> bytes:
    """Noise with a modulated level, as the bytes of a file."""
    return as_file(tiny.noise(int(seconds * rate), seed).numpy(), kind, rate)


def as_file(samples: np.ndarray, kind: str = "WAV", rate: int = 16_000, subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def form(data: bytes, before: bytes = b"") -> bytes:
    """A multipart body with boundary x."""
    head = b"--x\r\n" + before + b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    return head + data + b"\r\n--x--\r\n"


def request(data: bytes, before: bytes = b"") -> bytes:
    """The bytes of a complete request with a recording. before: other parts of the form."""
    body = form(data, before)
    head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + body


def rest(client: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    try:
        return b"".join(iter(lambda: client.recv(65536), b""))
    except ConnectionResetError:
        return b""
