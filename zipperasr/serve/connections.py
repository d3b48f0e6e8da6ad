"""The HTTP server: uvicorn, with a time limit on headers and a quiet end for requests that a shutdown interrupts.

In: the app and its limits. Out: a uvicorn server. uvicorn itself waits for headers without limit, and logs a traceback
for every request that it cancels.
"""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from zipperasr.serve.errors import ApiError

GRACE_S = 2  # for requests at work when the server is asked to end
MAX_SILENT = 256  # connections that owe a request; with one more, the oldest is closed


def http_server(app: ASGIApp, read_timeout_s: float, log_level: str = "warning") -> uvicorn.Server:
    """read_timeout_s: from a connection, or from the first byte of its next request, to the end of the headers."""
    silent: dict[H11Protocol, asyncio.TimerHandle] = {}  # the oldest first

    class TimedHeaders(H11Protocol):
        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            self._time_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._time_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_clock()

        def _time_headers(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:  # the app has the request
                self._stop_clock()
            elif self not in silent and not self.transport.is_closing():
                silent[self] = self.loop.call_later(read_timeout_s, self.transport.abort)
                if len(silent) > MAX_SILENT:
                    next(iter(silent)).transport.abort()

        def _stop_clock(self) -> None:
            if self in silent:
                silent.pop(self).cancel()

    config = uvicorn.Config(
        EndedQuietly(app),
        http=TimedHeaders,
        ws="none",
        lifespan="off",
        log_level=log_level,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return Server(config)


class Server(uvicorn.Server):
    """uvicorn's, which leaves requests that it has cancelled the time to send their answer."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        tasks = set(self.server_state.tasks)
        if tasks and not self.force_exit:  # then asyncio cancels them itself
            await asyncio.wait(tasks, timeout=GRACE_S)


class EndedQuietly:
    """ASGI middleware: a request that is cancelled by the end of the server is answered with 503."""

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
                error = ApiError(503, "the server is shutting down; try again later", code="shutting_down")
                await error.response()(scope, receive, send)
