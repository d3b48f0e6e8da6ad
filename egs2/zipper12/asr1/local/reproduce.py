"""Train every system of the paper (LoRA variants x encoder regimes x data settings x seeds), then write RESULTS.md.

In: the recipe's configuration; further options of run.sh for all systems follow `--`. Out: exp/ and RESULTS.md. All
systems share the data, the language embeddings and one alignment per regime. Run the command again to resume: run.sh
skips finished stages. A failed system does not stop the others, but the exit status is 1.
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

from zipperasr.audio.segments import REGIMES
from zipperasr.cli import log, nearest, parser, run_step
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.lora import VARIANTS
from zipperasr.prepare.dataset_table import SETTINGS
from zipperasr.train.train_config import TrainConfig


@dataclass(frozen=True)
class System:
    """A row of the tables: a variant, and what distinguishes it from plain training after the alignment."""

    lora: str
    options: tuple[str, ...] = ()  # of run.sh; SOFT: the plain soft run of the same regime, setting and seed
    settings: tuple[str, ...] = ()  # override conf/*/sft.yaml; TWICE: twice its epochs
    control: bool = False  # not in the paper; trained in the first regime and setting only

    @property
    def after_soft(self) -> bool:
        return "SOFT" in self.options


SYSTEMS = {
    **{variant: System(variant) for variant in VARIANTS},
    "initial_b": System("zipper_soft", ("--initial_b", "SOFT")),
    "initial_b_router": System("zipper_soft", ("--initial_b", "SOFT", "--initial_parts", "b router")),
    # Initial-B has been trained twice as long. Controls: two schedules in a row, and one schedule of twice the length.
    "restarted": System("zipper_soft", ("--initial_b", "SOFT", "--initial_parts", "all"), control=True),
    "twice": System("zipper_soft", settings=("epochs=TWICE",), control=True),
    "dense": System("zipper_soft", settings=("absent_language=dense",), control=True),
    # Do routers that hardly move from their initialisation need a larger learning rate? One run per routed variant.
    "router_lr_x10": System("zipper_soft", settings=("router_lr_factor=10",), control=True),
    "hard_router_lr_x10": System("zipper_hard", settings=("router_lr_factor=10",), control=True),
}
OWN_OPTIONS = ("__lora", "__tag", "__train_args", "__initial_b", "__initial_parts", "__seed", "__regime", "__setting")


@dataclass(frozen=True)
class Cell:
    """One training."""

    system: str
    regime: str
    setting: str
    seed: int

    def command(self, epochs: int, exp: str, settings: Sequence[str] = ()) -> list[str]:
        """Return the call of run.sh that trains, decodes and scores it; `settings` apply to all systems."""
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


@dataclass(frozen=True)
class Plan:
    """Which systems are trained, and how."""

    systems: tuple[str, ...] = tuple(SYSTEMS)
    regimes: tuple[str, ...] = tuple(REGIMES)
    settings: tuple[str, ...] = SETTINGS
    seeds: tuple[int, ...] = (1, 2, 3)
    sft_args: tuple[str, ...] = ()  # override conf/*/sft.yaml for all systems
    jobs: int = 1
    nproc: int = 2
    scale: str = "mini"
    common: tuple[str, ...] = ()  # further options of run.sh for all systems
    invocation: str = ""  # for the report

    def __post_init__(self) -> None:
        for system in self.systems:
            if system not in SYSTEMS:
                raise ValueError(f"unknown system {system!r}; {nearest(system, list(SYSTEMS))}")
        for word in self.common:
            if word.split("=")[0].replace("-", "_") in OWN_OPTIONS:
                raise ValueError(
                    f"{word}: differs between systems; to set it for all use --sft_args or conf/{self.scale}"
                )


def reproduce(plan: Plan) -> None:
    """Run everything. Raises ValueError that names the systems that failed."""
    matrix = Matrix(plan)
    for setting in plan.settings:
        matrix.run_sh("--stage", "0", "--stop-stage", "4", "--setting", setting)
    for regime in plan.regimes:
        matrix.run_sh("--stage", "5", "--stop-stage", "8", "--regime", regime, "--alignment_only", "true")
    failed = [name for cells in rounds(plan) for name in matrix.train_all(cells)]
    matrix.run_sh("--stage", "9")
    if failed:
        raise ValueError(f"{len(failed)} systems failed: {', '.join(failed)}; see {matrix.logs}, then run this again")


def rounds(plan: Plan) -> Iterable[list[Cell]]:
    """Yield, for each seed and setting, the systems that start from the alignment, then those that start from soft."""
    for seed in plan.seeds:
        for setting in plan.settings:
            cells = [
                Cell(name, regime, setting, seed)
                for name in plan.systems
                for regime in plan.regimes
                if not SYSTEMS[name].control or (regime, setting) == (plan.regimes[0], plan.settings[0])
            ]
            yield [cell for cell in cells if not SYSTEMS[cell.system].after_soft]
            yield [cell for cell in cells if SYSTEMS[cell.system].after_soft]


class Matrix:
    """Calls run.sh with the plan's common options."""

    def __init__(self, plan: Plan):
        self.exp = "exp" if plan.scale == "mini" else f"exp_{plan.scale}"
        self.logs = Path(self.exp) / "logs" / "matrix"
        self.settings = list(plan.sft_args)
        config = load_yaml(TrainConfig, Path("conf") / plan.scale / "sft.yaml", parse_overrides(self.settings))
        self.epochs = config.epochs
        self.jobs, self.nproc = plan.jobs, str(plan.nproc)
        self.common = ["--scale", plan.scale, *plan.common]
        # By default each PyTorch process uses all cores: two trainings on two cores then take 8 times as long.
        threads = max(1, len(os.sched_getaffinity(0)) // (plan.jobs * plan.nproc))
        self.environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        self.invocation = {"INVOCATION": plan.invocation, **os.environ}

    def run_sh(self, *words: str) -> None:
        """Run stages that all systems share. Raises CalledProcessError."""
        subprocess.run(["./run.sh", *words, *self.common], env=self.invocation, check=True)

    def train_all(self, cells: Sequence[Cell]) -> list[str]:
        """Train, decode and score. Returns the names of the systems that failed."""
        failed = []
        with ThreadPoolExecutor(self.jobs) as pool, tqdm(total=len(cells), unit="system", disable=not cells) as bar:
            running = {pool.submit(self._train, cell): cell.name for cell in cells}
            for done in as_completed(running):
                if done.result() != 0:
                    failed.append(running[done])
                    log(f"{failed[-1]}: FAILED; see {self.logs}/{failed[-1]}.log")
                bar.update()
        return failed

    def _train(self, cell: Cell) -> int:
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{cell.name}.log").open("a", encoding="utf-8") as stream:
            command = [*cell.command(self.epochs, self.exp, self.settings), "--nproc", self.nproc, *self.common]
            return subprocess.run(
                command, stdout=stream, stderr=subprocess.STDOUT, env=self.environment, check=False
            ).returncode


def main(argv: Sequence[str] | None = None) -> int:
    default = Plan()
    options = parser(__doc__)
    options.add_argument("--systems", nargs="+", default=list(SYSTEMS), help=f"any of {', '.join(SYSTEMS)}")
    options.add_argument("--regimes", nargs="+", choices=REGIMES, default=list(REGIMES), help="encoder regimes")
    options.add_argument(
        "--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="hours per low-resource language"
    )
    options.add_argument(
        "--seeds", nargs="+", type=int, default=list(default.seeds), help="of the adaptation; alignments use seed 1"
    )
    options.add_argument("--sft_args", default="", help="override conf/*/sft.yaml for every system, such as 'epochs=1'")
    options.add_argument("--jobs", type=int, default=default.jobs, help="systems to train in parallel")
    options.add_argument("--nproc", type=int, default=default.nproc, help="training processes per system without GPUs")
    options.add_argument("--scale", choices=("mini", "full"), default=default.scale, help="as in run.sh")
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)

    def step(given: argparse.Namespace) -> None:
        reproduce(
            Plan(
                systems=tuple(given.systems),
                regimes=tuple(given.regimes),
                settings=tuple(given.settings),
                seeds=tuple(given.seeds),
                sft_args=tuple(given.sft_args.split()),
                jobs=given.jobs,
                nproc=given.nproc,
                scale=given.scale,
                common=tuple(words[cut + 1 :]),
                invocation=shlex.join(["local/reproduce.sh", *words]),
            )
        )

    return run_step(step, options.parse_args(words[:cut]), "local.reproduce")


if __name__ == "__main__":
    sys.exit(main())
