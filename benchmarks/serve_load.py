"""The server with many clients at once, against one request at a time: texts, throughput, latency; memory.

Input: a trained model and the test sets of its recipe. Output: a section of RESULTS.md. Recordings of 2 to 120 s are
joined from test utterances of one language. `--max_running 1` processes one request at a time, its segments in batches.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
import soundfile
from record import write_section
from shared_options import add_results

from zipperasr.audio.load import SAMPLE_RATE, load_audio
from zipperasr.cli import log, parser, run_step
from zipperasr.markdown import table

PATH = "/v1/audio/transcriptions"
SHORTEST_S, LONGEST_S = 2.0, 120.0
PAUSE_S = 0.3  # between joined utterances
PATIENCE_S = 280.0
CANCEL_AFTER_S = 0.3
PROBES = 24  # short requests, at most, that measure the effect of cancelling clients


@dataclass(frozen=True)
class Clip:
    """A recording and its language; every third request has the language detected."""

    lang: str
    duration_s: float
    data: bytes  # wav


@dataclass
class Found:
    """Results by number of the request."""

    texts: dict[int, str] = field(default_factory=dict)
    latency_s: dict[int, float] = field(default_factory=dict)
    wall_s: float = 0.0
    cpu_s: float = 0.0  # of the server
    machine_load: float = 0.0  # average number of runnable processes of the machine, over the last minute at the end


def clips(recipe: Path, number: int, longest_s: float, draw: random.Random) -> list[Clip]:
    """Recordings with durations from 2 s to `longest_s`, uniform in the logarithm, in random languages."""
    sets = sorted((recipe / "dump" / "raw").glob("test_*"))
    if not sets:
        raise ValueError(f"{recipe}/dump/raw: no test sets; run stages 0 to 2 of the recipe")
    made = []
    for _ in range(number):
        chosen = draw.choice(sets)
        entries = [line.split(maxsplit=1)[1] for line in (chosen / "wav.scp").read_text("utf-8").splitlines()]
        wanted = SHORTEST_S * (longest_s / SHORTEST_S) ** draw.random()
        parts: list[np.ndarray] = []
        while sum(map(len, parts)) < wanted * SAMPLE_RATE:
            parts += [load_audio(recipe / draw.choice(entries)), np.zeros(int(PAUSE_S * SAMPLE_RATE), np.float32)]
        samples = np.concatenate(parts)[: int(wanted * SAMPLE_RATE)]
        stream = io.BytesIO()
        soundfile.write(stream, samples, SAMPLE_RATE, format="WAV")
        lang = (chosen / "utt2lang").read_text("utf-8").split()[1]
        made.append(Clip(lang, len(samples) / SAMPLE_RATE, stream.getvalue()))
    return made


@contextmanager
def served(
    model: Path, options: Sequence[str], python: Path | str = sys.executable, **environment: str
) -> Iterator[tuple[psutil.Process, str]]:
    """Start a server with a Python and further environment variables; yield its process and address."""
    with tempfile.TemporaryDirectory() as work:
        log_file = Path(work) / "log"
        command = [python, "-m", "zipperasr", "serve", "--model", str(model), "--port", "0", *options]
        with (
            log_file.open("w") as stream,
            subprocess.Popen(command, stderr=stream, env={**os.environ, **environment}) as server,
        ):
            try:
                while not (found := re.search(r"open (http://127\.0\.0\.1:\d+);", log_file.read_text("utf-8"))):
                    if server.poll() is not None:
                        raise ValueError(f"the server did not start: {log_file.read_text('utf-8')[-400:]}")
                    time.sleep(0.1)
                yield psutil.Process(server.pid), found[1]
                if "Traceback" in (text := log_file.read_text("utf-8")):
                    raise ValueError(f"the server's log has a traceback: {text[-2000:]}")
            finally:
                server.terminate()


async def load(address: str, asked: Sequence[Clip], clients: int) -> Found:
    """Send all requests; each client sends its next one when it has the response to the last."""
    found, queue = Found(), iter(enumerate(asked))

    async def client(session: httpx.AsyncClient) -> None:
        for number, clip in queue:
            start = time.monotonic()
            fields = {"language": clip.lang} if number % 3 else {}
            response = await session.post(PATH, files={"file": ("a.wav", clip.data)}, data=fields)
            if response.status_code != 200:
                raise ValueError(f"request {number}: {response.status_code} {response.text}")
            found.texts[number], found.latency_s[number] = response.json()["text"], time.monotonic() - start

    start = time.monotonic()
    async with _session(address) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    found.wall_s = time.monotonic() - start
    return found


async def beside_cancelling(address: str, asked: Sequence[Clip], long: Clip, clients: int) -> Found:
    """`load` with one client, while others send a long recording and disconnect before the response, repeatedly."""

    async def cancelling() -> None:
        while True:
            try:
                async with _session(address, CANCEL_AFTER_S) as session:
                    await session.post(PATH, files={"file": ("a.wav", long.data)}, data={"language": long.lang})
            except httpx.TimeoutException:
                continue

    tasks = [asyncio.create_task(cancelling()) for _ in range(clients)]
    try:
        return await load(address, asked, 1)
    finally:
        for task in tasks:
            task.cancel()


def _session(address: str, timeout_s: float = PATIENCE_S) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=address, timeout=timeout_s, limits=httpx.Limits(max_connections=None))


def measured(server: psutil.Process, run: Callable[[], Coroutine[None, None, Found]]) -> Found:
    before = server.cpu_times()
    found = asyncio.run(run())
    after = server.cpu_times()
    found.cpu_s = after.user + after.system - before.user - before.system
    found.machine_load = os.getloadavg()[0]
    return found


def soak(server: psutil.Process, address: str, asked: Sequence[Clip], requests: int, clients: int) -> list[float]:
    """Resident memory in MiB after each tenth of `requests`."""
    memory = []
    for _ in range(10):
        batch = [asked[number % len(asked)] for number in range(requests // 10)]
        asyncio.run(load(address, batch, clients))
        memory.append(server.memory_info().rss / 2**20)
    return memory


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--recipe", type=Path, required=True, help="recipe directory with dump/raw")
    options.add_argument("--model", type=Path, required=True, help="training directory or bundle")
    options.add_argument("--clients", type=int, default=32, help="number of concurrent clients")
    options.add_argument("--requests", type=int, default=64, help="number of requests of 2 to 120 s")
    options.add_argument("--longest_s", type=float, default=LONGEST_S, help="longest recording in seconds")
    options.add_argument("--soak", type=int, default=2000, help="number of short requests that memory is measured over")
    options.add_argument("--seed", type=int, default=1, help="random seed")
    add_results(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.serve_load")


def _run(options: argparse.Namespace) -> None:
    draw = random.Random(options.seed)
    asked = clips(options.recipe, options.requests, options.longest_s, draw)
    short = clips(options.recipe, min(PROBES, options.requests), 2 * SHORTEST_S, draw)
    long = max(asked, key=lambda clip: clip.duration_s)
    warm = short[:8]
    found = {}
    for name, running in (("one at a time", "1"), ("shared batches", str(options.clients))):
        limits = ["--max_running", running, "--max_waiting", str(2 * options.clients)]
        with served(options.model, limits) as (server, address):
            asyncio.run(load(address, warm, 4))
            found[name] = measured(server, lambda address=address: load(address, asked, options.clients))
            log(f"{name}: {found[name].wall_s:.1f} s, server {found[name].cpu_s:.1f} CPU seconds")
            if running != "1":
                alone = asyncio.run(load(address, short, 1))
                beside = asyncio.run(beside_cancelling(address, short, long, 4))
                memory = soak(server, address, short, options.soak, options.clients)
    one, shared = found["one at a time"], found["shared batches"]
    if one.texts != shared.texts or alone.texts != beside.texts:
        raise ValueError("texts differ from those of one request at a time")
    section = _section(options, asked, found, (alone, beside), memory)
    write_section("The server with many clients", section, options.results)


def _section(
    options: argparse.Namespace,
    asked: Sequence[Clip],
    found: dict[str, Found],
    probes: tuple[Found, Found],
    memory: list[float],
) -> str:
    audio_s = sum(clip.duration_s for clip in asked)
    one, shared = found.values()
    rows = [
        [name, f"{audio_s / run.wall_s:.1f}", f"{audio_s / run.cpu_s:.1f}", *_percentiles(run.latency_s)]
        for name, run in found.items()
    ]
    short = [number for number, clip in enumerate(asked) if clip.duration_s < 10]
    rows += [
        [f"{name}, under 10 s of audio", "", "", *_percentiles({n: run.latency_s[n] for n in short})]
        for name, run in found.items()
    ]
    rows += [
        [name, "", "", *_percentiles(run.latency_s)]
        for name, run in zip(("2 to 4 s, one client", "the same beside cancelling clients"), probes, strict=True)
    ]
    log(f"throughput {one.wall_s / shared.wall_s:.2f} times, per CPU second {one.cpu_s / shared.cpu_s:.2f} times")
    num_languages, longest = len({clip.lang for clip in asked}), max(clip.duration_s for clip in asked)
    return (
        f"`zipperasr serve`; {options.clients} clients, {len(asked)} requests in {num_languages} languages, 2 to "
        f"{options.longest_s:g} s, {audio_s:.0f} s of audio; a third has the language detected. All texts equal those "
        f"of one request at a time (`--max_running 1`). Throughput is {one.wall_s / shared.wall_s:.2f} times, per CPU "
        f"second of the server {one.cpu_s / shared.cpu_s:.2f} times. Over {options.soak} further requests of 2 to 4 s, "
        f"resident memory was {memory[0]:.0f} MiB after a tenth and {memory[-1]:.0f} MiB at the end. The cancelling "
        f"clients, 4 at a time, send {longest:.0f} s and disconnect after {CANCEL_AFTER_S} s. After the two "
        f"runs, the machine's load average was {one.machine_load:.1f} and {shared.machine_load:.1f}.\n\n"
        + table(["", "audio s per s", "per CPU s", "p50, s", "p95, s", "p99, s"], rows)
    )


def _percentiles(latency_s: dict[int, float]) -> list[str]:
    values = list(latency_s.values())
    return [f"{np.percentile(values, share):.2f}" if values else "" for share in (50, 95, 99)]


if __name__ == "__main__":
    sys.exit(main())
