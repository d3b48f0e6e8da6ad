"""With API keys, every path but /health needs one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serve.live import NAME, Live, recording, running
from zipperasr.serve.api_keys import read_keys
from zipperasr.serve.limits import Limits
from zipperasr.serve.service import Service

KEYS = ["0123456789abcdef", "fedcba9876543210-second"]


@pytest.fixture(scope="module")
def locked(transcriber) -> Iterator[Live]:
    with running(Service(transcriber, NAME, Limits(max_mb=1)), keys=KEYS) as live:
        yield live


@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens_the_endpoint(locked: Live, key):
    files, headers = {"file": ("a.wav", recording(0.5))}, {"Authorization": f"Bearer {key}"}
    assert locked.client.post("/v1/audio/transcriptions", files=files, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "given", ["", "Bearer", f"Bearer {KEYS[0]}x", f"Bearer {KEYS[0][:-1]}", f"Basic {KEYS[0]}", "Bearer \xe9"]
)
@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/models", "/metrics", "/model.json", "/"])
def test_without_a_valid_key_the_answer_is_401_in_openais_form(locked: Live, path, given):
    method = "POST" if "audio" in path else "GET"
    response = locked.client.request(method, path, headers={"Authorization": given.encode("latin-1")})
    assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert error["code"] == "invalid_api_key" and error["type"] == "invalid_request_error"
    assert "x-request-id" in response.headers


def test_health_needs_no_key(locked: Live):
    assert locked.client.get("/health").status_code == 200


def test_openais_client_sends_its_key(locked: Live):
    openai = pytest.importorskip("openai", reason="openai is not installed; run pip install -e '.[dev]'")
    ask = {"model": NAME, "file": ("a.wav", recording(0.5)), "language": "de"}
    openai.OpenAI(base_url=f"{locked.url}/v1", api_key=KEYS[1]).audio.transcriptions.create(**ask)
    with pytest.raises(openai.AuthenticationError, match="with a valid key"):
        openai.OpenAI(base_url=f"{locked.url}/v1", api_key="none").audio.transcriptions.create(**ask)


def test_a_file_has_one_key_per_line_and_comments(tmp_path):
    (tmp_path / "keys").write_text(f"# ours\n{KEYS[0]}\n\n  {KEYS[1]}  \n")
    assert read_keys(tmp_path / "keys") == KEYS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "keys: no keys; wanted one per line"),
        ("# none\n", "keys: no keys; wanted one per line"),
        ("# ours\nshort\n", "keys:2: got a key of 5 characters, wanted at least 16 printable ASCII characters"),
        ("0123456789 abcdef\n", "keys:1: got a key of 17 characters, wanted"),
        ("0123456789abcdef\u00e9\n", "keys:1: got a key of 17 characters, wanted"),
    ],
)
def test_invalid_key_files_are_errors(tmp_path, text, message):
    (tmp_path / "keys").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_keys(tmp_path / "keys")
