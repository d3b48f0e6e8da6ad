"""A local web page and an OpenAI-compatible endpoint over a trained model.

In: a training directory or a bundle. Out: http://127.0.0.1:8000 with the page, POST /v1/audio/transcriptions, GET
/v1/models and GET /health, until interrupted. One recording at a time is transcribed; nothing is kept. There is no
password: another --host than a loopback one lets everybody in who reaches it.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import socket
import sys
from contextlib import closing, suppress
from dataclasses import fields, replace
from pathlib import Path

from zipperasr.cli import log, parser, run_step
from zipperasr.serve.limits import Limits
from zipperasr.transcribe.transcriber import DEFAULTS, DTYPES, Transcriber

EXTRA = ("starlette", "uvicorn", "python_multipart")  # what `demo` of setup.py brings


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.prog = "zipperasr demo"
    options.add_argument(
        "--model", type=Path, required=True, help="training directory, or a bundle of `zipperasr export`"
    )
    options.add_argument("--host", default="127.0.0.1", help="address to bind to")
    options.add_argument("--port", type=int, default=8000, help="0: any free one")
    options.add_argument("--max_mb", type=float, default=25.0, help="largest upload")
    options.add_argument("--max_s", type=float, default=600.0, help="longest recording")
    options.add_argument("--timeout_s", type=float, default=600.0, help="longest wait for an answer, upload included")
    options.add_argument(
        "--read_timeout_s", type=float, default=20.0, help="longest pause in a request that is being sent"
    )
    options.add_argument("--max_waiting", type=int, default=8, help="requests that may wait beside the one at work")
    options.add_argument("--device", default=None, help="cpu or cuda; default: cuda where there is one")
    options.add_argument("--precision", choices=tuple(DTYPES), default="fp32", help="of weights and activations")
    return run_step(demo, options.parse_args(argv), "zipperasr demo")


def demo(options: argparse.Namespace) -> None:
    """Serve until interrupted. Raises ValueError or OSError before that: no extra, no model, no port."""
    _check_extra()
    from zipperasr.serve.access import is_loopback
    from zipperasr.serve.app import build_app
    from zipperasr.serve.connections import http_server

    listening, loopback = bound(options.host, options.port), is_loopback(options.host)
    with listening, suppress(KeyboardInterrupt), closing(_service(options)) as service:
        host, port = listening.getsockname()[:2]
        if not loopback:
            log(f"warning: bound to {host}: whoever reaches this machine can use the model, there is no password")
        log(f"{service.name}: open http://{f'[{host}]' if ':' in host else host}:{port}; Ctrl-C ends it")
        http_server(build_app(service, loopback), service.limits.read_timeout_s).run(sockets=[listening])


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at the address already: early connections wait. Raises OSError, ValueError."""
    if not 0 <= port < 2**16:  # getaddrinfo would take the remainder
        raise ValueError(f"--port: got {port}, wanted 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise OSError(f"--host {host} --port {port}: {error}") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        remedy = "in use; choose another --port" if error.errno == errno.EADDRINUSE else error.strerror
        raise OSError(f"--host {host} --port {port}: {remedy}") from error
    return listening


def _check_extra() -> None:
    for name in EXTRA:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise OSError(f"no {name} here; pip install 'zipperasr[demo]' brings it") from error


def _service(options: argparse.Namespace):
    from zipperasr.serve.service import Service

    limits = Limits(**{field.name: getattr(options, field.name) for field in fields(Limits)})
    config = replace(DEFAULTS, precision=options.precision)
    transcriber = Transcriber.from_pretrained(options.model, options.device, config)
    return Service(transcriber, Path(os.path.abspath(options.model)).name, limits)


if __name__ == "__main__":
    sys.exit(main())
