"""API keys: a file of keys, and a middleware that refuses requests without one."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from zipperasr.serve.errors import ApiError
from zipperasr.text_lines import numbered_lines

OPEN = ("/health",)  # paths that need no key
SHORTEST = 16  # characters


def read_keys(path: Path) -> list[str]:
    """Read a file with one key per line; lines that start with # are comments. Raises ValueError, OSError."""
    keys = []
    for number, text in numbered_lines(path):
        key = text.strip()
        if key.startswith("#"):
            continue
        if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
            wanted = f"at least {SHORTEST} printable ASCII characters without spaces"
            raise ValueError(f"{path}:{number}: got a key of {len(key)} characters, wanted {wanted}")
        keys.append(key)
    if not keys:
        raise ValueError(f"{path}: no keys; wanted one per line")
    return keys


class Keys:
    """ASGI middleware that answers 401 unless the request has `Authorization: Bearer KEY`."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]):
        self.app, self._keys = app, [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN or self._is_known(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        error = ApiError(401, "wanted the header `Authorization: Bearer KEY` with a valid key", code="invalid_api_key")
        error.headers["WWW-Authenticate"] = "Bearer"
        await error.response()(scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = key.strip().encode()
        found = [hmac.compare_digest(given, known) for known in self._keys]  # all, in constant time
        return scheme.lower() == "bearer" and any(found)
