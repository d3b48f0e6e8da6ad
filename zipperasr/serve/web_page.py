"""The page: static files of this package, style and elements shared with report.html, and what it shows of the model.

In: assets. Out: routes. Files are read once at the start, by name: no path of a request reaches the disk.
"""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SHARED, OWN = "zipperasr.report.html", "zipperasr.serve"
ASSETS = {
    "style.css": SHARED, "dom.js": SHARED, "demo.css": OWN, "audio.js": OWN, "microphone.js": OWN, "result.js": OWN,
    "main.js": OWN,
}  # fmt: skip
MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "html": "text/html"}


def page_routes() -> list[Route]:
    """GET /, /assets/NAME and /model.json."""
    routes = [Route("/", _file(OWN, "page.html")), Route("/model.json", described)]
    return routes + [Route(f"/assets/{name}", _file(package, name)) for name, package in ASSETS.items()]


async def described(request: Request) -> JSONResponse:
    """GET /model.json."""
    return JSONResponse(request.app.state.service.described())


def _file(package: str, name: str):
    content = (files(package) / "assets" / name).read_bytes()
    media_type = MEDIA_TYPES[name.rpartition(".")[2]]

    async def serve(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return serve
