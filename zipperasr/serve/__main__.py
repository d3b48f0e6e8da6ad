"""Serve a trained model as a local web page and an OpenAI-compatible endpoint.

Serves the page, POST /v1/audio/transcriptions, the WebSocket /v1/realtime, GET /v1/models, /health and /metrics at
http://127.0.0.1:8000 until interrupted. Requests and streams share batches; no recording is stored. Without --api_keys
and with a --host that is not a loopback address, everybody who can reach the machine can use the model.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import fields
from pathlib import Path

from zipperasr.cli import log, parser, run_step
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.serve.limits import Limits
from zipperasr.transcribe.defaults import SERVED
from zipperasr.transcribe.options import add_decoding, add_model, add_nbest, decoding_of
from zipperasr.transcribe.voice import DETECTORS, ENERGY

# packages of the extra `serve` in setup.py
EXTRA = ("starlette", "uvicorn", "websockets", "python_multipart", "prometheus_client")


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.prog = "zipperasr serve"
    add_model(options)
    options.add_argument("--host", default="127.0.0.1", help="address to bind to")
    options.add_argument("--port", type=int, default=8000, help="port to bind to; 0 for any free port")
    options.add_argument("--max_mb", type=float, default=25.0, help="maximum size of an upload in MB")
    options.add_argument("--max_s", type=float, default=600.0, help="maximum duration of a recording in seconds")
    options.add_argument(
        "--timeout_s", type=float, default=600.0, help="maximum time for a request in seconds, upload included"
    )
    options.add_argument("--read_timeout_s", type=float, default=20.0, help="maximum pause within an upload in seconds")
    options.add_argument("--max_running", type=int, default=32, help="maximum number of requests that share batches")
    options.add_argument("--max_waiting", type=int, default=64, help="maximum length of the queue")
    options.add_argument("--grace_s", type=int, default=10, help="time for running requests when the server stops")
    options.add_argument("--max_streams", type=int, default=16, help="maximum number of open streams")
    options.add_argument("--idle_s", type=float, default=60.0, help="maximum time without audio in a stream in seconds")
    options.add_argument(
        "--samples", type=Path, default=None, help="data directories, such as dump/raw, with recordings for the page"
    )
    options.add_argument(
        "--api_keys", type=Path, default=None, help="file of API keys, one per line; all paths but /health require one"
    )
    options.add_argument(
        "--allowed_hosts",
        nargs="*",
        default=[],
        metavar="NAME",
        help="names that clients may use for the server besides localhost, such as that of a proxy; default: any, "
        "but none on a loopback address",
    )
    options.add_argument("--vad", choices=DETECTORS, default=ENERGY, help="voice detector")
    add_decoding(options, SERVED)
    add_nbest(options, SERVED)
    chosen = options.parse_args(argv)

    def step(_: object) -> None:
        limits = Limits(**{field.name: getattr(chosen, field.name) for field in fields(Limits)})
        config = decoding_of(chosen, SERVED)
        address = (chosen.host, chosen.port)
        access = {"keys": chosen.api_keys, "hosts": chosen.allowed_hosts}
        how = {"device": chosen.device, "config": config, "vad": chosen.vad}
        serve(chosen.model, address, limits, samples=chosen.samples, **access, **how)

    return run_step(step, chosen, "zipperasr serve")


def serve(
    model: Path,
    address: tuple[str, int],
    limits: Limits,
    *,
    samples: Path | None,
    keys: Path | None,
    hosts: Sequence[str],
    device: str | None,
    config: DecodeConfig,
    vad: str,
) -> None:
    """Serve until interrupted.

    Args:
        address: host and port.
        samples: data directories with recordings to try on the page.
        keys: file of API keys; None: requests need none.
        hosts: names of the server besides those of this machine; see `Guard`.
        vad: voice detector.

    Raises ValueError or OSError if a package is missing, the model or the keys cannot be read or the address cannot be
    bound.
    """
    _check_extra()
    from zipperasr.serve.access import check_host_name, is_loopback
    from zipperasr.serve.api_keys import read_keys
    from zipperasr.serve.app import build_app
    from zipperasr.serve.connections import http_server, listen
    from zipperasr.serve.samples import read_samples
    from zipperasr.serve.service import Service
    from zipperasr.transcribe.transcriber import Transcriber

    for name in hosts:
        check_host_name(name)
    known = [] if keys is None else read_keys(keys)
    listening, loopback = listen(*address), is_loopback(address[0])
    with listening, suppress(KeyboardInterrupt):
        transcriber = Transcriber.from_pretrained(model, device, config, vad=vad, words=None)
        to_try = read_samples(samples, transcriber.languages.codes) if samples else {}
        name = Path(os.path.abspath(model)).name
        with closing(transcriber), closing(Service(transcriber, name, limits, to_try)) as service:
            host, port = listening.getsockname()[:2]
            if not loopback and not known:
                log(f"warning: bound to {host} without API keys: everybody who can reach it can use the model")
            log(f"{service.name}: open http://{f'[{host}]' if ':' in host else host}:{port}; Ctrl-C stops the server")
            app = build_app(service, loopback, known, hosts)
            server = http_server(app, limits.read_timeout_s, limits.grace_s, service.refuse_further)
            server.run(sockets=[listening])


def _check_extra() -> None:
    for name in EXTRA:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise OSError(f"{name} is not installed; run pip install 'zipperasr[serve]'") from error


if __name__ == "__main__":
    sys.exit(main())
