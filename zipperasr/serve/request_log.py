"""Request ids, one line in the log for each transcription request, and its metrics."""

from __future__ import annotations

import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zipperasr.cli import log
from zipperasr.serve.metrics import Metrics
from zipperasr.serve.service import Recognised

PATH = "/v1/audio/transcriptions"
CLIENT_GONE = 499  # in the log, as in nginx's
_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)


class RequestLog:
    """ASGI middleware. Every response has an X-Request-Id: the request's own if it is valid, otherwise a new one.

    The endpoint leaves its result in `request.state.recognised`, and in `request.state.failed` the status of an error
    after the response's start.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), CLIENT_GONE
        request_id = request_id_of(Headers(scope=scope))
        state = scope.setdefault("state", {})

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            if scope["path"] == PATH:
                total_s, status = time.monotonic() - start, state.get("failed", status)
                self.metrics.count(status, total_s, state.get("recognised"))
                log(line(request_id, status, total_s, state.get("recognised")))


def request_id_of(headers: Headers) -> str:
    """The id that a request has chosen if it is valid, otherwise a new one."""
    wanted = headers.get("x-request-id", "")
    return wanted if _ID.fullmatch(wanted) else uuid.uuid4().hex


def line(request_id: str, status: int, total_s: float, found: Recognised | None) -> str:
    """`request` and key=value pairs; those of the transcript are left out if there is none."""
    pairs: dict[str, object] = {"id": request_id, "status": status}
    if found is not None:
        transcript = found.transcript
        pairs |= {"audio_s": f"{transcript.duration_s:.2f}", "language": transcript.lang or "none"}
        pairs |= {"waited_s": f"{found.waited_s:.3f}"}
    pairs["total_s"] = f"{total_s:.3f}"
    return " ".join(["request", *(f"{key}={value}" for key, value in pairs.items())])
