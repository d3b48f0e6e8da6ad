"""Which hosts and origins may send requests, and the security headers of the page."""

from __future__ import annotations

import pytest

from tests.serve.live import NAME, Live, running
from zipperasr.serve.access import is_loopback
from zipperasr.serve.limits import Limits
from zipperasr.serve.service import Service


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:8000", "LOCALHOST", "127.8.8.8"])
def test_requests_to_names_of_this_machine_are_allowed(live: Live, host):
    assert live.client.get("/health", headers={"Host": host.format(port=live.port)}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "192.168.1.2", "[::1", ""])
def test_requests_to_a_rebound_name_are_rejected(live: Live, host):
    response = live.client.get("/model.json", headers={"Host": host})
    assert response.status_code == 403
    assert (
        response.json()["error"]["message"]
        == f"host {host!r} is not allowed; this server only accepts requests to localhost (--allowed_hosts)"
    )


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_posts_from_a_foreign_page_are_rejected(live: Live, origin):
    response = live.client.post("/v1/audio/transcriptions", headers={"Origin": origin}, files={"file": b""})
    assert response.status_code == 403
    assert (
        response.json()["error"]["message"] == f"origin {origin!r} is not allowed; this server's origin is {live.url}"
    )
    assert "access-control-allow-origin" not in response.headers


def test_posts_from_the_servers_page_are_allowed(live: Live):
    assert live.client.get("/health", headers={"Origin": live.url}).status_code == 200


def test_beyond_loopback_any_host_is_allowed_but_no_foreign_page(transcriber):
    with running(Service(transcriber, NAME, Limits()), loopback=False) as live:
        assert live.client.get("/health", headers={"Host": "asr.example"}).status_code == 200
        own = {"Host": "asr.example", "Origin": "https://asr.example"}
        assert live.client.get("/health", headers=own).status_code == 200
        assert live.client.get("/health", headers={**own, "Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize("loopback", [True, False])
def test_a_proxy_may_pass_its_name_on_as_host_or_only_as_origin(transcriber, loopback):
    page = {"Origin": "https://ASR.example"}
    with running(Service(transcriber, NAME, Limits()), loopback=loopback, hosts=["asr.Example"]) as live:

        def status(headers: dict) -> int:
            return live.client.get("/health", headers=headers).status_code

        assert status({"Host": "asr.example:8000"}) == status({"Host": "asr.example", **page}) == status(page) == 200
        assert status({"Host": "evil.example"}) == status({"Host": "evil.example", **page}) == 403
        assert status({"Host": "asr.example", "Origin": "https://evil.example"}) == 403


@pytest.mark.parametrize("path", ["/", "/model.json", "/assets/main.js", "/nothing"])
def test_every_response_restricts_the_page_to_its_origin(live: Live, path):
    headers = live.client.get(path).headers
    assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/assets/../run.py", "/assets/%2e%2e/run.py", "/assets/page.html", "/assets/"])
def test_only_files_of_the_page_are_served(live: Live, path):
    assert live.client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("asr.example", False),
    ],
)
def test_loopback_is_distinguished_from_other_addresses(host, loopback):
    assert is_loopback(host) is loopback
