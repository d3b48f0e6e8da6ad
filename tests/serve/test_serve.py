"""Errors before the server starts are reported in one line."""

from __future__ import annotations

import socket
import sys

import pytest
import uvicorn

from tests.serve.live import NAME
from zipperasr.serve import __main__ as run


def failed(capsys, *options: str) -> str:
    assert run.main([str(option) for option in options]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("zipperasr serve: error: ")
    return line.removeprefix("zipperasr serve: error: ")


@pytest.fixture(autouse=True)
def never_serves(monkeypatch):
    """A test that starts the server by mistake must not wait for Ctrl-C."""
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)


@pytest.mark.parametrize("name", run.EXTRA)
def test_a_missing_package_is_an_error_with_the_command_to_install_it(model_dir, capsys, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    assert failed(capsys, "--model", model_dir) == f"{name} is not installed; run pip install 'zipperasr[serve]'"


def test_a_port_in_use_is_an_error(model_dir, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = failed(capsys, "--model", model_dir, "--port", port)
    assert line == f"--host 127.0.0.1 --port {port}: in use; choose another --port"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "198.51.100.7"], "--host 198.51.100.7 --port 8000: Cannot assign requested address"),
        (["--port", "70000"], "--port: got 70000, wanted 0 to 65535"),
        (["--port", "0", "--max_mb", "0"], "--max_mb: got 0.0, wanted a finite number above 0"),
        (["--port", "0", "--max_s", "nan"], "--max_s: got nan, wanted a finite number above 0"),
        (["--port", "0", "--max_mb", "inf"], "--max_mb: got inf, wanted a finite number above 0"),
        (["--port", "0", "--read_timeout_s", "0"], "--read_timeout_s: got 0.0, wanted a finite number above 0"),
        (["--port", "0", "--max_waiting", "-1"], "--max_waiting: got -1, wanted 0 or more"),
        (["--port", "0", "--max_running", "0"], "--max_running: got 0, wanted 1 or more"),
        (
            ["--port", "0", "--allowed_hosts", "asr.example.com", "https://b.example"],
            "--allowed_hosts: got 'https://b.example', wanted a name without scheme and port, such as asr.example.com",
        ),
        (["--port", "0", "--allowed_hosts", "b.example:80"], "--allowed_hosts: got 'b.example:80', wanted a name"),
        (["--port", "0", "--grace_s", "-1"], "--grace_s: got -1, wanted 0 or more"),
        (["--port", "0", "--batch_size", "0"], "batch_size: got 0, wanted at least 1 and finite"),
        (["--port", "0", "--batch_positions", "0"], "batch_positions: got 0, wanted at least 1 and finite"),
    ],
)
def test_invalid_options_are_errors(model_dir, capsys, options, message):
    assert failed(capsys, "--model", model_dir, *options).startswith(message)


def test_a_missing_model_is_an_error(tmp_path, capsys):
    line = failed(capsys, "--model", tmp_path, "--port", "0")
    assert line == f"{tmp_path}/config.yaml: no finished training here; run stage 5 (align) or 6 (sft)"


def test_a_missing_key_file_is_an_error(model_dir, tmp_path, capsys):
    assert f"{tmp_path}/keys" in failed(capsys, "--model", model_dir, "--port", "0", "--api_keys", tmp_path / "keys")


@pytest.mark.parametrize(
    ("host", "keys", "warned"), [("0.0.0.0", False, True), ("0.0.0.0", True, False), ("127.0.0.1", False, False)]
)
def test_binding_beyond_loopback_without_keys_gives_a_warning(model_dir, tmp_path, capsys, host, keys, warned):
    (tmp_path / "keys").write_text("0123456789abcdef\n")
    given = ["--api_keys", str(tmp_path / "keys")] if keys else []
    assert run.main(["--model", str(model_dir), "--host", host, "--port", "0", *given]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [f"bound to {host}" in line for line in lines if "warning" in line] == [True] * warned
    assert any(f"{NAME}: open http://{host}:" in line for line in lines)
