"""Every system of the paper: LoRA variants x encoder regimes x data settings x seeds, then RESULTS.md.

In: the recipe's configuration; after a --, further options of run.sh for all. Out: exp/ and RESULTS.md. Data,
embeddings and one alignment for each regime are made once; all systems start from them. Interrupted, it goes on where
it stopped: run.sh passes over what is finished. A system that fails does not stop the others; the exit status tells.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from zipperasr.cli import log, nearest, parser, run_step
from zipperasr.config import load_yaml
from zipperasr.lora import VARIANTS
from zipperasr.model.config import REGIMES
from zipperasr.train.config import TrainConfig

SETTINGS = ("1h", "30h")
# What is done to zipper_soft besides training it once: the paper's Initial-B, and controls for it and for point 7 of
# the method. SOFT is the directory of the plain soft run of the same regime, setting and seed.
AFTER_SOFT = {
    "initial_b": ["--initial_b", "SOFT"],
    "initial_b_router": ["--initial_b", "SOFT", "--initial_parts", "b router"],
    "restarted": ["--initial_b", "SOFT", "--initial_parts", "all"],  # as long again, with a schedule of its own
}
BESIDE_SOFT = {
    "twice": ["--train_args", "epochs=TWICE"],  # as long as soft and its Initial-B together
    "dense": ["--train_args", "absent_language=dense"],
}
OWN_OPTIONS = ("__lora", "__tag", "__train_args", "__initial_b", "__initial_parts", "__seed", "__regime", "__setting")
SYSTEMS = (*VARIANTS, *AFTER_SOFT, *BESIDE_SOFT)


@dataclass(frozen=True)
class Cell:
    """One training of the matrix."""

    system: str
    regime: str
    setting: str
    seed: int

    def command(self, epochs: int, exp: str) -> list[str]:
        """The call of run.sh that trains, decodes and scores it."""
        how = ["--lora", self.system, "--tag", f"_seed{self.seed}"]
        if self.system not in VARIANTS:
            extra = {**AFTER_SOFT, **BESIDE_SOFT}[self.system]
            soft = f"{exp}/sft_zipper_soft_{self.regime}{'' if self.setting == '1h' else '_30h'}_seed{self.seed}"
            how = ["--lora", "zipper_soft", "--tag", f"_{self.system}_seed{self.seed}"]
            how += [word.replace("SOFT", soft).replace("TWICE", str(2 * epochs)) for word in extra]
        where = ["--regime", self.regime, "--setting", self.setting, "--seed", str(self.seed)]
        return ["./run.sh", "--stage", "6", "--stop-stage", "8", *where, *how]

    @property
    def name(self) -> str:
        return f"{self.system}_{self.regime}_{self.setting}_seed{self.seed}"


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--systems", nargs="+", default=list(SYSTEMS), help="variants, and what is done to soft")
    options.add_argument("--regimes", nargs="+", choices=REGIMES, default=list(REGIMES), help="how the encoder sees")
    options.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="of small languages")
    options.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="of the adaptation; alignments have 1")
    options.add_argument("--jobs", type=int, default=1, help="systems trained side by side")
    options.add_argument("--scale", choices=("mini", "full"), default="mini", help="as run.sh's")
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    chosen = options.parse_args(words[:cut])
    chosen.common = ["--scale", chosen.scale, *words[cut + 1 :]]
    return run_step(_run, chosen, "local.reproduce")


def _run(options: argparse.Namespace) -> None:
    for system in options.systems:
        if system not in SYSTEMS:
            raise ValueError(f"unknown system {system!r}; {nearest(system, SYSTEMS)}")
    for word in options.common:
        if word.split("=")[0].replace("-", "_") in OWN_OPTIONS:
            raise ValueError(f"{word}: each system has its own; change conf/{options.scale} for all of them instead")
    matrix = Matrix(options.scale, options.common, options.jobs)
    for setting in options.settings:
        matrix.run_sh("--stage", "0", "--stop-stage", "4", "--setting", setting)
    for regime in options.regimes:
        matrix.run_sh("--stage", "5", "--stop-stage", "8", "--regime", regime, "--alignment_only", "true")
    failed = [name for cells in rounds(options) for name in matrix.train_all(cells)]
    matrix.run_sh("--stage", "9")
    if failed:
        raise ValueError(f"{len(failed)} systems failed: {', '.join(failed)}; see {matrix.logs}, then run this again")


def rounds(options: argparse.Namespace) -> Iterable[list[Cell]]:
    """For each seed and setting: what starts from the alignment, then what starts from soft."""
    for seed in options.seeds:
        for setting in options.settings:
            cells = [Cell(s, regime, setting, seed) for s in options.systems for regime in options.regimes]
            yield [cell for cell in cells if cell.system not in AFTER_SOFT]
            yield [cell for cell in cells if cell.system in AFTER_SOFT]


class Matrix:
    """Runs run.sh: `common` are options for every call."""

    def __init__(self, scale: str, common: Sequence[str], jobs: int):
        self.exp = "exp" if scale == "mini" else f"exp_{scale}"
        self.logs = Path(self.exp) / "logs" / "matrix"
        self.epochs = load_yaml(TrainConfig, Path("conf") / scale / "sft.yaml").epochs
        self.common, self.jobs = list(common), jobs

    def run_sh(self, *words: str) -> None:
        """What all systems share; raises CalledProcessError."""
        subprocess.run(["./run.sh", *words, *self.common], check=True)

    def train_all(self, cells: Sequence[Cell]) -> list[str]:
        """Train, decode and score; returns the names of those that failed."""
        failed = []
        with ThreadPoolExecutor(self.jobs) as pool, tqdm(total=len(cells), unit="system", disable=not cells) as bar:
            running = {pool.submit(self._train, cell): cell.name for cell in cells}
            for done in as_completed(running):
                if done.result() != 0:
                    failed.append(running[done])
                    log(f"{failed[-1]}: FAILED; {self.logs}/{failed[-1]}.log says why")
                bar.update()
        return failed

    def _train(self, cell: Cell) -> int:
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{cell.name}.log").open("a", encoding="utf-8") as stream:
            command = [*cell.command(self.epochs, self.exp), *self.common]
            return subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
