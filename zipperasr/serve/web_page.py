"""The page: static files of this package, style and elements shared with report.html, and what it shows of the model.

In: assets. Out: routes. Files are read once at the start, by name: no path of a request reaches the disk.
"""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from zipperasr.report.html.template import page_head

SHARED, OWN = "zipperasr.report.html", "zipperasr.serve"
ASSETS = {
    "style.css": SHARED, "dom.js": SHARED, "demo.css": OWN, "audio.js": OWN, "microphone.js": OWN, "result.js": OWN,
    "main.js": OWN,
}  # fmt: skip
MEDIA_TYPES = {"css": "text/css", "js": "text/javascript"}


def page_routes() -> list[Route]:
    """GET /, /assets/NAME and /model.json."""
    style = "\n".join(f'<link rel="stylesheet" href="/assets/{name}">' for name in ("style.css", "demo.css"))
    head = page_head("Transcribe a recording", main=("result", "text"), style=style)
    page = f"{head}\n{_asset(OWN, 'page.html').decode()}".encode()
    routes = [Route("/", _constant(page, "text/html")), Route("/model.json", described)]
    for name, package in ASSETS.items():
        content = _constant(_asset(package, name), MEDIA_TYPES[name.rpartition(".")[2]])
        routes.append(Route(f"/assets/{name}", content))
    return routes


async def described(request: Request) -> JSONResponse:
    """GET /model.json."""
    return JSONResponse(request.app.state.service.described())


def _asset(package: str, name: str) -> bytes:
    return (files(package) / "assets" / name).read_bytes()


def _constant(content: bytes, media_type: str):
    async def serve(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return serve
