"""Access check: which host names the server has, and that only its own page, of all pages, sends requests.

Other requests get 403. The Host header reveals DNS rebinding to the server's address, the Origin header a request from
another site's page. All responses carry headers that restrict the page to its own origin.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zipperasr.serve.errors import ApiError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src blob:; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware that refuses requests from elsewhere.

    loopback: whether the server is bound to a loopback address; if not, and without `hosts`, any Host is accepted.
    hosts: names of the server besides those of this machine, such as that of a proxy; also as origin.
    """

    def __init__(self, app: ASGIApp, loopback: bool, hosts: Sequence[str] = ()):
        self.app = app
        self._checks_host = loopback or bool(hosts)
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        if refusal is not None:
            await refusal.response()(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers) -> ApiError | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        name = _hostname(f"http://{host}")
        if self._checks_host and name not in self._hosts and not is_loopback(name):
            accepted = ", ".join(["localhost", *sorted(self._hosts)])
            return ApiError(
                403,
                f"host {host!r} is not allowed; this server only accepts requests to {accepted} (--allowed_hosts)",
                code="foreign_host",
            )
        own = (f"http://{host}", f"https://{host}")
        if origin is not None and origin not in own and _hostname(origin) not in self._hosts:
            return ApiError(
                403, f"origin {origin!r} is not allowed; this server's origin is http://{host}", code="foreign_origin"
            )
        return None


def check_host_name(name: str) -> None:
    """Raise ValueError for what is not a host name, or an IPv4 address, alone, such as a URL."""
    if _hostname(f"http://{name}") != name.lower():
        raise ValueError(
            f"--allowed_hosts: got {name!r}, wanted a name without scheme and port, such as asr.example.com"
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address refers to this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # malformed IPv6 address
        return ""
