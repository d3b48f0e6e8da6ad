"""The server under hostile requests: response texts and latency of honest requests, memory of the server.

Input: a trained model. Output: a section of RESULTS.md. The server runs in a separate process. The honest requests are
sent twice on the same schedule: alone, then among hostile requests of every kind in hostile.py.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
from hostile import ATTACKS, CLOSED, PATH, Attack, noise
from record import write_section
from shared_options import add_results

from zipperasr.cli import log, parser, run_step
from zipperasr.markdown import table

LIMITS = ["--max_mb", "5", "--max_s", "120", "--timeout_s", "60", "--read_timeout_s", "5"]
BUSY = 503  # honest requests are retried, as OpenAI's client does; it is an acceptable answer to hostile ones
PATIENCE_S = 90.0
RECORDINGS = 8  # number of different recordings in honest requests


@dataclass(frozen=True)
class Arrival:
    """One request, hostile or honest."""

    at_s: float
    number: int
    kind: str = ""
    attack: Attack | None = None  # made before the clock starts


@dataclass
class Found:
    """What the requests returned."""

    honest_s: list[float] = field(default_factory=list)
    retries: int = 0  # of honest requests
    texts: dict[int, set[str]] = field(default_factory=dict)  # by honest recording
    failures: list[str] = field(default_factory=list)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)  # (kind, status)
    rss: list[int] = field(default_factory=list)  # bytes, every 0.2 s


def drawn(requests: int, honest: float, rate: float, seed: int) -> list[Arrival]:
    """Arrivals at random times, `rate` per second; every kind of attack is equally frequent."""
    draw = random.Random(seed)
    num_honest = round(requests * honest)
    names = list(ATTACKS)
    kinds = [""] * num_honest + [names[number % len(names)] for number in range(requests - num_honest)]
    draw.shuffle(kinds)
    moments = sorted(draw.uniform(0, requests / rate) for _ in kinds)
    return [
        Arrival(at_s, number, kind, ATTACKS[kind](draw) if kind else None)
        for number, (at_s, kind) in enumerate(zip(moments, kinds, strict=True))
    ]


@contextmanager
def served(bundle: Path, log_file: Path) -> Iterator[tuple[psutil.Process, int]]:
    """Start a server with the model; yield its process and port."""
    command = [sys.executable, "-m", "zipperasr", "serve", "--model", str(bundle), "--port", "0", *LIMITS]
    with log_file.open("w") as stream, subprocess.Popen(command, stderr=stream, env=os.environ) as server:
        try:
            while not (found := re.search(r"open http://127\.0\.0\.1:(\d+);", log_file.read_text("utf-8"))):
                if server.poll() is not None:
                    raise ValueError(f"the server did not start: {log_file.read_text('utf-8')[-400:]}")
                time.sleep(0.1)
            yield psutil.Process(server.pid), int(found[1])
            if server.poll() is not None:
                raise ValueError(f"the server exited with status {server.returncode}")
        finally:
            server.terminate()


async def run(arrivals: list[Arrival], port: int, server: psutil.Process) -> Found:
    """Send every request at its time, and wait for all responses."""
    found = Found()
    watch = asyncio.create_task(_watch(server, found))
    limits = httpx.Limits(max_connections=None, keepalive_expiry=2.0)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, limits=limits) as client:
        start = time.monotonic()
        tasks = []
        for arrival in arrivals:
            await asyncio.sleep(max(0.0, start + arrival.at_s - time.monotonic()))
            work = _attack(port, arrival, found) if arrival.attack else _ask(client, arrival, found)
            tasks.append(asyncio.create_task(work))
        await asyncio.gather(*tasks)
    watch.cancel()
    return found


async def _ask(client: httpx.AsyncClient, arrival: Arrival, found: Found) -> None:
    number = arrival.number % RECORDINGS
    start = time.monotonic()
    files = {"file": ("speech.flac", noise(1.0 + number, seed=number))}
    try:
        response = await client.post(PATH, files=files)
        while response.status_code == BUSY and time.monotonic() < start + PATIENCE_S:
            found.retries += 1
            await asyncio.sleep(float(response.headers["Retry-After"]))
            response = await client.post(PATH, files=files)
    except httpx.HTTPError as error:
        found.failures.append(f"honest: {error!r}")
        return
    found.honest_s.append(time.monotonic() - start)
    if response.status_code == 200:
        found.texts.setdefault(number, set()).add(response.json()["text"])
    else:
        found.failures.append(f"honest: {response.status_code} {response.text}")


async def _attack(port: int, arrival: Arrival, found: Found) -> None:
    try:
        status = await asyncio.wait_for(_status(port, arrival.attack), PATIENCE_S)
    except asyncio.TimeoutError:
        status = -1
    found.answers[arrival.kind, status] += 1
    wanted = arrival.attack.answers
    if wanted and status not in (*wanted, BUSY):
        found.failures.append(f"{arrival.kind}: got {status}, wanted {' or '.join(map(str, wanted))}")


async def _status(port: int, attack: Attack) -> int:
    """Return the response's status code, or CLOSED if there was no response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(reader.readline())
    try:
        for piece in attack.pieces:
            writer.write(piece)
            await writer.drain()
            if attack.pause_s:
                await asyncio.wait({answer}, timeout=attack.pause_s)
            if answer.done():
                break
        if not attack.answers:
            return CLOSED
        line = await answer
        return int(line.split()[1]) if line else CLOSED
    except ConnectionError:
        return int(answer.result().split()[1]) if _has_result(answer) else CLOSED
    finally:
        answer.cancel()
        writer.transport.abort()


def _has_result(answer: asyncio.Task) -> bool:
    return answer.done() and answer.exception() is None and bool(answer.result())


async def _watch(server: psutil.Process, found: Found) -> None:
    while True:
        found.rss.append(server.memory_info().rss)
        await asyncio.sleep(0.2)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--bundle", type=Path, required=True, help="training directory or bundle")
    options.add_argument("--requests", type=int, default=2000, help="number of requests, honest and hostile")
    options.add_argument("--honest", type=float, default=0.25, help="share of honest requests")
    options.add_argument("--rate", type=float, default=10.0, help="requests per second")
    options.add_argument("--seed", type=int, default=1, help="random seed")
    add_results(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.serve_abuse")


def _run(options: argparse.Namespace) -> None:
    arrivals = drawn(options.requests, options.honest, options.rate, options.seed)
    honest = [arrival for arrival in arrivals if not arrival.attack]
    with tempfile.TemporaryDirectory() as work:
        log_file = Path(work) / "log"
        with served(options.bundle, log_file) as (server, port):
            quiet = asyncio.run(run(honest, port, server))
            log(f"{len(honest)} honest requests alone: p95 {_p95(quiet):.3f} s")
            mixed = asyncio.run(run(arrivals, port, server))
            time.sleep(1)
            end = server.memory_info().rss
        failures = quiet.failures + mixed.failures
        if "Traceback" in log_file.read_text("utf-8"):
            failures.append(f"the server's log has a traceback: {log_file.read_text('utf-8')[-2000:]}")
    if quiet.texts != mixed.texts:
        failures.append("honest requests got different texts than without hostile ones")
    if failures:
        raise ValueError(f"{len(failures)} failures: " + "; ".join(failures[:10]))
    write_section("The server under hostile requests", _section(quiet, mixed, end, options.rate), options.results)


def _p95(found: Found) -> float:
    return float(np.percentile(found.honest_s, 95))


def _section(quiet: Found, mixed: Found, end: int, rate: float) -> str:
    start = quiet.rss[-1]
    ratio = _p95(mixed) / _p95(quiet)
    log(f"p95 {_p95(mixed):.3f} s, {ratio:.2f} times that without attacks; RSS grew to {end / start:.3f} times")
    hostile = sum(mixed.answers.values())
    times = [
        [name, *(f"{np.percentile(found.honest_s, share):.3f}" for share in (50, 95, 100))]
        for name, found in (("alone", quiet), ("among hostile requests", mixed))
    ]
    kinds = [
        [
            name,
            ", ".join(
                f"{_named(status)} {count}" for (kind, status), count in sorted(mixed.answers.items()) if kind == name
            ),
        ]
        for name in ATTACKS
    ]
    memory = f"{end / start:.2f} times that before the hostile requests ({start / 2**20:.0f} MiB)"
    return (
        f"`zipperasr serve` with `{' '.join(LIMITS)}`; {len(mixed.honest_s)} honest requests (1 to 8 s of noise as "
        f"FLAC, language detected) and {hostile} hostile ones in random order, {rate:g} per second. All honest "
        "requests got the same texts as without hostile ones. Their 95th percentile of the response time is "
        f"{ratio:.2f} times that without hostile requests. Resident memory is {memory}; its peak was "
        f"{max(mixed.rss) / start:.2f} times that. The log has no traceback; the server asked honest clients "
        f"{mixed.retries} times to retry.\n\n"
        + table(["honest requests", "median, s", "95th percentile, s", "maximum, s"], times)
        + "\n\n"
        + table(["hostile requests", "responses"], kinds)
    )


def _named(status: int) -> str:
    return {CLOSED: "closed", -1: "none"}.get(status, str(status)) + " ×"


if __name__ == "__main__":
    sys.exit(main())
