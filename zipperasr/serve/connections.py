"""The HTTP server: uvicorn with time limits for clients, and a 503 for requests that a shutdown interrupts.

uvicorn itself waits indefinitely for headers and for clients that do not read, and logs a traceback for every request
that it cancels.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from zipperasr.cli import log
from zipperasr.serve.errors import busy, shutting_down
from zipperasr.serve.upload import MIN_BYTES_PER_S

ANSWER_S = 2  # seconds to send the responses of cancelled requests
SEND_S = 20.0  # maximum time for a client to read what is sent, or SEND_S * MIN_BYTES_PER_S bytes of a long response
MAX_MESSAGE = 2**20  # bytes of a WebSocket's message; larger ones end it with 1009
MAX_OPEN = 512  # connections, of which half may wait for their clients


def http_server(
    app: ASGIApp,
    read_timeout_s: float,
    grace_s: int,
    stopping: Callable[[], None] = lambda: None,
    log_level: str = "warning",
) -> uvicorn.Server:
    """Create the server.

    Args:
        read_timeout_s: maximum time from the connection, or from the first byte of its next request, to the end of the
            headers.
        grace_s: time for running requests on shutdown.
        stopping: called when the shutdown begins.
    """
    most = max_open()

    async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
        if (number := len(server.server_state.connections)) <= most:
            await app(scope, receive, send)
            return
        error = busy(f"{number} connections are open")
        error.headers["Connection"] = "close"
        log(f"request refused: {error.message}")
        await error.response()(scope, receive, send)

    config = uvicorn.Config(
        bounded,
        http=partial(HttpConnection, Waiting(most // 2), read_timeout_s),  # type: ignore[arg-type]
        ws=StreamProtocol,
        ws_max_size=MAX_MESSAGE,
        ws_ping_interval=None,  # pongs are not read while a client has to wait; the app ends idle streams
        ws_per_message_deflate=False,
        lifespan="off",
        log_level=log_level,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
    )
    server = Server(config, stopping)
    return server


def max_open() -> int:
    """Connections that may be open: `MAX_OPEN`, or a third of the process's file descriptors if these are fewer.

    Another third is for uploads, the rest for connections that are being refused and for everything else.
    """
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_OPEN if descriptors == resource.RLIM_INFINITY else min(MAX_OPEN, descriptors // 3)


class Waiting:
    """Connections that wait for their clients. Beyond `most` of them, the one that has waited longest is closed."""

    def __init__(self, most: int):
        self.most = most
        self._timers: dict[asyncio.Transport, asyncio.TimerHandle | None] = {}  # longest first

    def add(self, connection: asyncio.Transport, timer: asyncio.TimerHandle | None) -> None:
        """Add a connection, or replace its timer, which will close it."""
        self._timers[connection] = timer
        if len(self._timers) > self.most:
            longest = next(iter(self._timers))
            self.discard(longest)
            longest.abort()

    def discard(self, connection: asyncio.Transport) -> None:
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()


class HttpConnection(H11Protocol):
    """uvicorn's connection, closed if its client does not send the headers or read the response in time."""

    def __init__(self, waiting: Waiting, read_timeout_s: float, **arguments: Any):
        super().__init__(**arguments)
        self._waiting, self._read_timeout_s = waiting, read_timeout_s
        self._awaited: str | None = None  # what the client has to do

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # pause_writing is called as soon as something cannot be sent
        self._update()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._update()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._update()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._waiting.discard(self.transport)

    def handle_websocket_upgrade(self, event: Any) -> None:
        if self.flow.write_paused:  # the client has not read the responses to requests that it sent before
            self.transport.abort()
            return
        self.transport.set_write_buffer_limits()
        super().handle_websocket_upgrade(event)
        self._update()

    def _update(self) -> None:
        awaited = self._find_awaited()
        if awaited == self._awaited:
            return
        self._awaited = awaited
        self._waiting.discard(self.transport)
        if awaited == "read":
            self._time_reading()
        elif awaited == "send headers":
            self._waiting.add(self.transport, self.loop.call_later(self._read_timeout_s, self.transport.abort))
        elif awaited == "send a request":  # uvicorn closes idle connections
            self._waiting.add(self.transport, None)

    def _find_awaited(self) -> str | None:
        if self.transport.get_protocol() is not self:  # a WebSocket
            return None
        if self.flow.write_paused:
            return "read"
        is_processed = self.cycle is not None and not self.cycle.response_complete
        if is_processed or self.transport.is_closing():
            return None
        return "send headers" if self.timeout_keep_alive_task is None else "send a request"

    def _time_reading(self) -> None:
        unsent = self.transport.get_write_buffer_size()

        def check() -> None:
            if unsent - self.transport.get_write_buffer_size() < SEND_S * MIN_BYTES_PER_S:
                self.transport.abort()
            else:
                self._time_reading()

        self._waiting.add(self.transport, self.loop.call_later(SEND_S, check))


class StreamProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket. The app ends it when the server stops; no client keeps it open by not reading."""

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.close_sent:  # the handshake is wrong
            self.loop.call_later(ANSWER_S, self.transport.abort)

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:  # pongs that the client does not read would accumulate
            self.transport.abort()

    def shutdown(self) -> None:
        if not self.handshake_complete or self.close_sent:
            super().shutdown()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.loop.call_later(ANSWER_S, self.transport.abort)


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen, so that connections made before the server starts wait. Raises OSError, ValueError."""
    if not 0 <= port < 2**16:  # getaddrinfo would take the remainder
        raise ValueError(f"--port: got {port}, wanted 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise OSError(f"--host {host} --port {port}: {error}") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        remedy = "in use; choose another --port" if error.errno == errno.EADDRINUSE else error.strerror
        raise OSError(f"--host {host} --port {port}: {remedy}") from error
    return listening


class Server(uvicorn.Server):
    """uvicorn's server, which waits until cancelled requests have sent their responses."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]):
        super().__init__(config)
        self._stopping = stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)
        tasks = set(self.server_state.tasks)
        if tasks and not self.force_exit:  # then asyncio cancels them itself
            await asyncio.wait(tasks, timeout=ANSWER_S)
        for connection in self.server_state.connections:
            if isinstance(connection, StreamProtocol):
                connection.transport.close()


class AnsweredOnShutdown:
    """ASGI middleware that answers a request with 503 if the shutdown cancels it."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answered = False

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except asyncio.CancelledError:
            if not answered:
                await shutting_down().response()(scope, receive, send)
