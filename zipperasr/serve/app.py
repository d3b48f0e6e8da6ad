"""The ASGI application: API routes, the web page and error handlers, behind the access check and the request log.

The page's files are read once at the start, by name; no path of a request reaches the file system.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from zipperasr.serve import api
from zipperasr.serve.access import Guard
from zipperasr.serve.api_keys import Keys
from zipperasr.serve.connections import AnsweredOnShutdown
from zipperasr.serve.errors import ApiError, internal, no_such_route, told
from zipperasr.serve.metrics import Metrics, metrics
from zipperasr.serve.realtime import realtime
from zipperasr.serve.request_log import RequestLog
from zipperasr.serve.service import Service

SHARED, OWN = "zipperasr.report.html", "zipperasr.serve"  # packages with assets; report.html has the same style
ASSETS = {
    "style.css": SHARED, "dom.js": SHARED, "page.css": OWN, "audio.js": OWN, "microphone.js": OWN, "result.js": OWN,
    "live.js": OWN, "capture.js": OWN, "main.js": OWN,
}  # fmt: skip
MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "html": "text/html"}


def build_app(service: Service, loopback: bool, keys: Sequence[str] = (), hosts: Sequence[str] = ()) -> ASGIApp:
    """Build the application.

    loopback, hosts: see `Guard`. keys: one of them is required, if there are any.
    """
    routes = [
        Route("/v1/audio/transcriptions", api.Transcriptions(), methods=["POST"]),
        WebSocketRoute("/v1/realtime", realtime),
        Route("/v1/models", api.models),
        Route("/v1/models/{name:path}", api.model),
        Route("/health", api.health),
        Route("/metrics", metrics),
        Route("/", _file(OWN, "page.html")),
        Route("/model.json", described),
        Route("/samples/{code}.wav", sample),
        *(Route(f"/assets/{name}", _file(package, name)) for name, package in ASSETS.items()),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Guard, loopback=loopback, hosts=hosts),
            *([Middleware(Keys, keys=keys)] if keys else []),
        ],
        exception_handlers={ApiError: told, HTTPException: no_such_route, Exception: internal},
    )
    app.state.service, app.state.metrics = service, Metrics(service.live, service.streams)
    return RequestLog(AnsweredOnShutdown(app), app.state.metrics)


async def described(request: Request) -> JSONResponse:
    """GET /model.json."""
    return JSONResponse(request.app.state.service.described())


async def sample(request: Request) -> Response:
    """GET /samples/CODE.wav: the recording to try in a language."""
    found = request.app.state.service.samples.get(request.path_params["code"])
    if found is None:
        raise ApiError(404, f"no sample in {request.path_params['code']!r}; start the server with --samples")
    return Response(found.wav, media_type="audio/wav")


def _file(package: str, name: str) -> Callable[[Request], Awaitable[Response]]:
    content = (files(package) / "assets" / name).read_bytes()
    media_type = MEDIA_TYPES[name.rpartition(".")[2]]

    async def serve(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return serve
