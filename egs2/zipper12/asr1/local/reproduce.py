"""Every system of the paper: LoRA variants x encoder regimes x data settings x seeds, then RESULTS.md.

In: the recipe's configuration; after a --, further options of run.sh for all. Out: exp/ and RESULTS.md. Data,
embeddings and one alignment for each regime are made once; all systems start from them. Interrupted, it goes on where
it stopped: run.sh passes over what is finished. A system that fails does not stop the others; the exit status tells.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from zipperasr.cli import log, nearest, parser, run_step
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.lora import VARIANTS
from zipperasr.model.model_config import REGIMES
from zipperasr.train.train_config import TrainConfig

SETTINGS = ("1h", "30h")


@dataclass(frozen=True)
class System:
    """A row of the tables: a variant, and what is done to it besides training it once from the alignment."""

    lora: str
    options: tuple[str, ...] = ()  # of run.sh; SOFT: the plain soft run of the same regime, setting and seed
    settings: tuple[str, ...] = ()  # over conf/*/sft.yaml; TWICE: two times its epochs
    control: bool = False  # not in the paper: in the first regime and setting only

    @property
    def after_soft(self) -> bool:
        return "SOFT" in self.options


SYSTEMS = {
    **{variant: System(variant) for variant in VARIANTS},
    "initial_b": System("zipper_soft", ("--initial_b", "SOFT")),
    "initial_b_router": System("zipper_soft", ("--initial_b", "SOFT", "--initial_parts", "b router")),
    # Initial-B has had two trainings: as long again with a schedule of its own, and as long as both in one go.
    "restarted": System("zipper_soft", ("--initial_b", "SOFT", "--initial_parts", "all"), control=True),
    "twice": System("zipper_soft", settings=("epochs=TWICE",), control=True),
    "dense": System("zipper_soft", settings=("absent_language=dense",), control=True),
    # Does a router that hardly leaves its start need larger steps? Tried once, for both routed variants alike.
    "router_lr_x10": System("zipper_soft", settings=("router_lr_factor=10",), control=True),
    "hard_router_lr_x10": System("zipper_hard", settings=("router_lr_factor=10",), control=True),
}
OWN_OPTIONS = ("__lora", "__tag", "__train_args", "__initial_b", "__initial_parts", "__seed", "__regime", "__setting")


@dataclass(frozen=True)
class Cell:
    """One training of the matrix."""

    system: str
    regime: str
    setting: str
    seed: int

    def command(self, epochs: int, exp: str, settings: Sequence[str] = ()) -> list[str]:
        """The call of run.sh that trains, decodes and scores it; `settings` are those of all systems."""
        system = SYSTEMS[self.system]
        soft = f"{exp}/sft_zipper_soft_{self.regime}{'' if self.setting == '1h' else '_30h'}_seed{self.seed}"
        own = [word.replace("TWICE", str(2 * epochs)) for word in system.settings]
        tag = f"_seed{self.seed}" if self.system in VARIANTS else f"_{self.system}_seed{self.seed}"
        how = ["--lora", system.lora, "--tag", tag]
        how += [word.replace("SOFT", soft) for word in system.options]
        how += ["--train_args", " ".join([*settings, *own])] if own or settings else []
        where = ["--regime", self.regime, "--setting", self.setting, "--seed", str(self.seed)]
        return ["./run.sh", "--stage", "6", "--stop-stage", "8", *where, *how]

    @property
    def name(self) -> str:
        return f"{self.system}_{self.regime}_{self.setting}_seed{self.seed}"


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--systems", nargs="+", default=list(SYSTEMS), help=f"of {', '.join(SYSTEMS)}")
    options.add_argument("--regimes", nargs="+", choices=REGIMES, default=list(REGIMES), help="how the encoder sees")
    options.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="of small languages")
    options.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="of the adaptation; alignments have 1")
    options.add_argument("--sft_args", default="", help="settings over conf/*/sft.yaml for every system, as 'epochs=1'")
    options.add_argument("--jobs", type=int, default=1, help="systems trained side by side")
    options.add_argument("--nproc", type=int, default=2, help="processes of each system where there is no GPU")
    options.add_argument("--scale", choices=("mini", "full"), default="mini", help="as run.sh's")
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    chosen = options.parse_args(words[:cut])
    chosen.common = ["--scale", chosen.scale, *words[cut + 1 :]]
    chosen.invocation = shlex.join(["local/reproduce.sh", *words])
    return run_step(_run, chosen, "local.reproduce")


def _run(options: argparse.Namespace) -> None:
    for system in options.systems:
        if system not in SYSTEMS:
            raise ValueError(f"unknown system {system!r}; {nearest(system, SYSTEMS)}")
    for word in options.common:
        if word.split("=")[0].replace("-", "_") in OWN_OPTIONS:
            raise ValueError(f"{word}: each system has its own; for all of them use --sft_args or conf/{options.scale}")
    matrix = Matrix(options)
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
            cells = [
                Cell(name, regime, setting, seed)
                for name in options.systems
                for regime in options.regimes
                if not SYSTEMS[name].control or (regime, setting) == (options.regimes[0], options.settings[0])
            ]
            yield [cell for cell in cells if not SYSTEMS[cell.system].after_soft]
            yield [cell for cell in cells if SYSTEMS[cell.system].after_soft]


class Matrix:
    """Runs run.sh, with options.common for every call."""

    def __init__(self, options: argparse.Namespace):
        self.exp = "exp" if options.scale == "mini" else f"exp_{options.scale}"
        self.logs = Path(self.exp) / "logs" / "matrix"
        self.settings = options.sft_args.split()
        config = load_yaml(TrainConfig, Path("conf") / options.scale / "sft.yaml", parse_overrides(self.settings))
        self.epochs = config.epochs
        self.common, self.jobs, self.nproc = list(options.common), options.jobs, str(options.nproc)
        # Each of several PyTorch processes would use all cores: two trainings on two cores then take 8 times as long.
        threads = max(1, len(os.sched_getaffinity(0)) // (options.jobs * options.nproc))
        self.environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        self.invocation = {"INVOCATION": options.invocation, **os.environ}

    def run_sh(self, *words: str) -> None:
        """What all systems share; raises CalledProcessError."""
        subprocess.run(["./run.sh", *words, *self.common], env=self.invocation, check=True)

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
            command = [*cell.command(self.epochs, self.exp, self.settings), "--nproc", self.nproc, *self.common]
            return subprocess.run(
                command, stdout=stream, stderr=subprocess.STDOUT, env=self.environment, check=False
            ).returncode


if __name__ == "__main__":
    sys.exit(main())
