"""Scoring trn files with our scorer and with NIST's sclite; times include the start of the process.

Input: none; transcripts are generated in a temporary directory. Output: a section of RESULTS.md. The commands alternate
on the same files, and their outputs must be identical byte for byte. Memory is the peak resident set size.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from record import write_section
from shared_options import add_results

from zipperasr.cli import parser, run_step
from zipperasr.markdown import table

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("/usr/lib/sctk/bin/sclite", str(ROOT / "tools" / "sctk" / "bin" / "sclite"))
FILES = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm"]
WAYS = {
    "-o all": ["-o", "all", "stdout"],
    "-o sum": ["-o", "sum", "stdout"],
    "-o all -c": ["-o", "all", "stdout", "-c"],
}
NUM_WORDS, NUM_SPEAKERS, VOCABULARY = (10, 34), 50, 20000
SUBSTITUTED, DELETED = 0.07, 0.02


@dataclass(frozen=True)
class Run:
    """Time and memory of one command."""

    seconds: float
    peak_mib: float


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--utts", type=int, default=10000, help="number of utterances, with 22 words on average")
    options.add_argument("--many_utts", type=int, default=100000, help="number of utterances in the last row, run once")
    options.add_argument("--rounds", type=int, default=7, help="number of measured rounds")
    add_results(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.score")


def _run(options: argparse.Namespace) -> None:
    sclite = next((place for place in PLACES if Path(place).is_file()), shutil.which("sclite"))
    if sclite is None:
        raise FileNotFoundError("no sclite to compare with; run tools/install_sctk.sh")
    cases = [(options.utts, way, options.rounds) for way in WAYS] + [(options.many_utts, "-o all", 1)]
    rows = [_row(sclite, *case) for case in cases]
    header = ["utterances", "reports", "ours, s", "sclite, s", "ratio", "ours, MiB", "sclite, MiB"]
    body = (
        f"Times are the best / the median of {options.rounds} rounds (last row: one round) and include the start of "
        "the process. The ratio is the median over the rounds; below 1 is faster. Memory is the peak. Outputs are "
        "identical byte for byte."
    )
    write_section("Scoring compared with NIST's sclite", f"{body}\n\n{table(header, rows, 2)}", options.results)


def _row(sclite: str, num_utts: int, way: str, rounds: int) -> list[str]:
    with tempfile.TemporaryDirectory() as name:
        _write_trn(Path(name), num_utts)
        ours, theirs = [], []
        for _ in range(rounds):
            outputs = Path(name) / "ours.txt", Path(name) / "sclite.txt"
            ours.append(_timed([sys.executable, "-m", "zipperasr.score.sclite", *FILES, *WAYS[way]], outputs[0]))
            theirs.append(_timed([sclite, *FILES, *WAYS[way]], outputs[1]))
            if not filecmp.cmp(*outputs, shallow=False):
                raise ValueError(f"{num_utts} utterances, {way}: the outputs differ; run tests/score/sclite")
    ratio = median(our.seconds / their.seconds for our, their in zip(ours, theirs, strict=True))
    return [f"{num_utts:,}", f"`{way}`", _seconds(ours), _seconds(theirs), f"{ratio:.2f}", _peak(ours), _peak(theirs)]


def _write_trn(directory: Path, num_utts: int) -> None:
    """Write transcripts with 7 % substitutions and 2 % deletions, sorted by speaker."""
    rng = random.Random(1)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(VOCABULARY)]
    with (directory / "ref.trn").open("w") as references, (directory / "hyp.trn").open("w") as hypotheses:
        for number in range(num_utts):
            spoken = rng.choices(words, k=rng.randint(*NUM_WORDS))
            heard = [rng.choice(words) if rng.random() < SUBSTITUTED else w for w in spoken if rng.random() > DELETED]
            utt_id = f"(spk{number * NUM_SPEAKERS // num_utts}-{number:07d})"
            references.write(f"{' '.join(spoken)} {utt_id}\n")
            hypotheses.write(f"{' '.join(heard)} {utt_id}\n")


def _timed(command: list[str], output: Path) -> Run:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    with output.open("wb") as stdout:
        process = subprocess.Popen(
            command, cwd=output.parent, stdout=stdout, stderr=subprocess.DEVNULL, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise OSError(f"{' '.join(command)}: exit status {process.returncode}")
    return Run(seconds, usage.ru_maxrss / 1024)


def _seconds(runs: list[Run]) -> str:
    seconds = [run.seconds for run in runs]
    return f"{min(seconds):.2f} / {median(seconds):.2f}"


def _peak(runs: list[Run]) -> str:
    return f"{max(run.peak_mib for run in runs):,.0f}"


if __name__ == "__main__":
    sys.exit(main())
