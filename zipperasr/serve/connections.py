"""The HTTP server: uvicorn with a time limit for headers, and a 503 for requests that a shutdown interrupts.

uvicorn itself waits for headers indefinitely, and logs a traceback for every request that it cancels.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from zipperasr.serve.errors import shutting_down

ANSWER_S = 2  # seconds to send the responses of cancelled requests
MAX_MESSAGE = 2**20  # bytes of a WebSocket's message; larger ones end it with 1009
MAX_SILENT = 256  # open connections without a request; beyond it, the oldest is closed


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
    silent: dict[H11Protocol, asyncio.TimerHandle] = {}  # oldest first

    class TimedHeaders(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._time_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._time_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_clock()

        def _time_headers(self) -> None:
            is_websocket = self.transport.get_protocol() is not self
            if is_websocket or (self.cycle is not None and not self.cycle.response_complete):  # the app has the request
                self._stop_clock()
            elif self not in silent and not self.transport.is_closing():
                silent[self] = self.loop.call_later(read_timeout_s, self.transport.abort)
                if len(silent) > MAX_SILENT:
                    next(iter(silent)).transport.abort()

        def _stop_clock(self) -> None:
            if self in silent:
                silent.pop(self).cancel()

    config = uvicorn.Config(
        app,
        http=TimedHeaders,
        ws=StreamProtocol,
        ws_max_size=MAX_MESSAGE,
        ws_ping_interval=None,  # pongs are not read while a client has to wait; the app ends idle streams
        ws_per_message_deflate=False,
        lifespan="off",
        log_level=log_level,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
    )
    return Server(config, stopping)


class StreamProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket. The app ends it when the server stops; no client keeps it open by not reading."""

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
