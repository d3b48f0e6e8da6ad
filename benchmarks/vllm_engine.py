"""Stage 7 and the server with our greedy search and with vLLM (`engine: vllm`): time, and how many texts are the same.

Input: a recipe directory in which stages 0 to 6 have run, and .venv-vllm (tools/install_vllm.sh); nothing in the recipe
is changed. Output: two sections of RESULTS.md. Each engine decodes all test sets in a process of its own, and serves
the requests of several clients.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from record import write_section
from serve_load import Clip, Found, clips, load, measured, served
from shared_options import add_results

from zipperasr.cli import log, parser, run_step
from zipperasr.markdown import table

ROOT = Path(__file__).resolve().parents[1]
ENGINES = {"own": Path(sys.executable), "vllm": ROOT / ".venv-vllm" / "bin" / "python"}


@dataclass(frozen=True)
class Decoding:
    """One run of stage 7."""

    wall_s: float  # with start-up
    decoding_s: float  # of all test sets, without start-up
    audio_s: float
    texts: dict[str, str]  # a line of `text` by test set and utterance


def decode(engine: str, options: argparse.Namespace, work: Path) -> Decoding:
    """Decode all test sets with one engine. Raises ValueError if stage 7 fails."""
    out = work / "exp"
    shutil.copytree(options.recipe / options.exp, out, ignore=shutil.ignore_patterns("decode_*", "checkpoints"))
    command = [ENGINES[engine], "-m", "zipperasr.stages.decode", "--exp", out, "--config", options.config]
    command += ["--manifest", options.manifest, "--languages", options.languages]
    command += ["--set", f"engine={engine}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(options.threads)}
    start = time.monotonic()
    done = subprocess.run(command, cwd=options.recipe, env=environment, capture_output=True, text=True)
    wall_s = time.monotonic() - start
    if done.returncode:
        raise ValueError(f"engine {engine}: {' '.join(done.stderr.split())[-400:]}")
    rtfs = [json.loads(path.read_text()) for path in out.glob("decode_*/*/rtf.json")]
    texts = {
        f"{path.parent.name} {line.split(maxsplit=1)[0]}": line
        for path in out.glob("decode_*/*/text")
        for line in path.read_text(encoding="utf-8").splitlines()
    }
    shutil.rmtree(out)
    return Decoding(wall_s, sum(rtf["compute_s"] for rtf in rtfs), sum(rtf["audio_s"] for rtf in rtfs), texts)


def serve(engine: str, asked: Sequence[Clip], options: argparse.Namespace) -> Found:
    """Send requests to a server with one engine, after a few that are not counted."""
    limits = ["--max_running", options.clients, "--max_waiting", options.clients, "--engine", engine]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(options.threads)}
    model = options.recipe / options.exp
    with served(model, list(map(str, limits)), ENGINES[engine], **environment) as (server, address):
        asyncio.run(load(address, asked[:4], 4))
        return measured(server, lambda: load(address, asked, options.clients))


def serving(options: argparse.Namespace) -> str:
    """Serve with each engine; returns the text of a section."""
    asked = clips(options.recipe, options.requests, options.longest_s, random.Random(1))
    busy = os.getloadavg()[0]
    runs = {engine: serve(engine, asked, options) for engine in ENGINES}
    audio_s = sum(clip.duration_s for clip in asked)
    own, vllm = (found.texts for found in runs.values())
    same = sum(vllm[number] == text for number, text in own.items())
    rows = []
    for engine, found in runs.items():
        log(f"{engine}: {len(asked)} requests in {found.wall_s:.1f} s")
        latency = [f"{np.percentile(list(found.latency_s.values()), share):.2f}" for share in (50, 95)]
        rates = [f"{value / found.wall_s:.1f}" for value in (len(asked), audio_s)]
        rows.append([engine, *rates, f"{audio_s / found.cpu_s:.1f}", *latency])
    header = ["engine", "requests per s", "audio s per s", "audio s per CPU s", "p50, s", "p95, s"]
    return (
        f"`zipperasr serve`, {options.threads} threads; {options.clients} clients, {len(asked)} requests of 2 to "
        f"{options.longest_s:g} s, {audio_s:,.0f} s of audio; a third has the language detected. The machine's load "
        f"average was {busy:.1f} before. **{same} of {len(asked)} texts are the same.**\n\n{table(header, rows, 1)}"
    )


def stage_7(options: argparse.Namespace) -> str:
    """Decode with each engine; returns the text of a section."""
    runs: dict[str, list[Decoding]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory() as work:
        for round_number in range(options.rounds):
            for engine, found in runs.items():
                found.append(decode(engine, options, Path(work)))
                log(f"{engine}, round {round_number + 1}: {found[-1].wall_s:.1f} s")
    own, vllm = (found[0].texts for found in runs.values())
    same = sum(vllm.get(key) == line for key, line in own.items())
    rows = []
    for engine, found in runs.items():
        decoding_s = statistics.median(run.decoding_s for run in found)
        wall_s = statistics.median(run.wall_s for run in found)
        rows.append([engine, f"{decoding_s:.1f}", f"{found[0].audio_s / decoding_s:.0f}", f"{wall_s - decoding_s:.1f}"])
    body = (
        f"{len(own):,} utterances, {runs['own'][0].audio_s:,.0f} s of speech, {options.threads} threads; median of "
        f"{options.rounds} rounds in which the engines alternate. **{same:,} of {len(own):,} texts are the same.**\n\n"
    )
    return body + table(["engine", "decoding, s", "audio s per s", "start-up, s"], rows, 1)


def benchmark(options: argparse.Namespace) -> None:
    if not ENGINES["vllm"].is_file():
        raise ValueError(f"{ENGINES['vllm']}: not found; run tools/install_vllm.sh")
    if options.rounds:
        write_section("Decoding with vLLM", stage_7(options), options.results)
    if options.requests:
        write_section("Serving with vLLM", serving(options), options.results)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    recipe, exp = ROOT / "egs2" / "zipper12" / "asr1", Path("exp/sft_zipper_soft_chunked")
    options.add_argument("--recipe", type=Path, default=recipe, help="recipe directory; other paths are relative to it")
    options.add_argument("--exp", type=Path, default=exp, help="trained model to decode with")
    options.add_argument("--config", type=Path, default=Path("conf/mini/decode.yaml"), help="decoding configuration")
    options.add_argument("--manifest", type=Path, default=Path("dump/manifest"), help="output of stage 3")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--threads", type=int, default=2, help="threads of each process")
    options.add_argument("--rounds", type=int, default=3, help="number of rounds of stage 7; 0: none")
    options.add_argument("--clients", type=int, default=16, help="number of concurrent clients of the server")
    options.add_argument("--requests", type=int, default=64, help="number of requests to the server; 0: none")
    options.add_argument("--longest_s", type=float, default=30.0, help="longest recording of a request in seconds")
    add_results(options)
    return run_step(benchmark, options.parse_args(argv), "vllm_engine")


if __name__ == "__main__":
    sys.exit(main())
