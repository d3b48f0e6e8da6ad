"""The server's app: routes, errors, and the guard in front of them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from zipperasr.serve import api
from zipperasr.serve.access import Guard
from zipperasr.serve.errors import ApiError, internal, no_such_route, told
from zipperasr.serve.service import Service
from zipperasr.serve.web_page import page_routes


def build_app(service: Service, loopback: bool) -> Starlette:
    """loopback: whether none but this machine may ask."""

    routes = [
        Route("/v1/audio/transcriptions", api.transcriptions, methods=["POST"]),
        Route("/v1/models", api.models),
        Route("/v1/models/{name:path}", api.model),
        Route("/health", api.health),
        *page_routes(),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, loopback=loopback)],
        exception_handlers={ApiError: told, HTTPException: no_such_route, Exception: internal},
    )
    app.state.service = service
    return app
