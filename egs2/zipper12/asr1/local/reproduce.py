"""Train every system of the paper (LoRA variants x encoder regimes x data settings x seeds), then write RESULTS.md.

In: the recipe's configuration; further options of run.sh for all systems follow `--`. Out: exp/ and RESULTS.md. All
systems share the data, the language embeddings and one alignment per regime. Run the command again to resume: run.sh
skips finished stages. A failed system does not stop the others, but the exit status is 1. --save packs the results
into one small file, from which --load makes the report again without training.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from local.saved_cells import is_loaded, load_cells, save_cells
from local.systems import SYSTEMS, Cell
from zipperasr.audio.segments import REGIMES
from zipperasr.cli import log, nearest, parser, run_step, str2bool
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.prepare.dataset_table import SETTINGS
from zipperasr.train.train_config import TrainConfig

OWN_OPTIONS = ("__lora", "__tag", "__train_args", "__initial_b", "__initial_parts", "__seed", "__regime", "__setting")


@dataclass(frozen=True)
class Plan:
    """Which systems are trained, and how."""

    systems: tuple[str, ...] = tuple(SYSTEMS)
    regimes: tuple[str, ...] = tuple(REGIMES)
    settings: tuple[str, ...] = SETTINGS
    seeds: tuple[int, ...] = (1, 2, 3)
    control_seeds: int = 1  # the first of `seeds`, for controls
    sft_args: tuple[str, ...] = ()  # override conf/*/sft.yaml for all systems
    jobs: int = 1
    nproc: int = 2
    scale: str = "mini"
    common: tuple[str, ...] = ()  # further options of run.sh for all systems
    invocation: str = ""  # for the report
    load: tuple[Path, ...] = ()  # archives of finished trainings, written with `save`
    loaded_only: bool = False  # train nothing
    save: Path | None = None

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
    for archive in plan.load:
        load_cells(archive, Path(matrix.exp))
    cells = [cell for cell in cells_of(plan) if not plan.loaded_only or matrix.is_loaded(cell)]
    if not cells:
        raise ValueError(f"{matrix.exp}: no system that was chosen is loaded; give an archive with --load")
    for setting in dict.fromkeys(cell.setting for cell in cells):
        matrix.run_sh("--stage", "0", "--stop-stage", "4", "--setting", setting)
    untrained = matrix.untrained(cells)
    for regime in dict.fromkeys(cell.regime for cell in cells):
        matrix.align(regime, any(cell.regime == regime for cell in untrained))
    failed = [name for some in rounds([*cells, *untrained]) for name in matrix.run_all(some, untrained)]
    matrix.run_sh("--stage", "9")
    if plan.save:
        save_cells(Path(matrix.exp), plan.save)
    if failed:
        raise ValueError(f"{len(failed)} systems failed: {', '.join(failed)}; see {matrix.logs}, then run this again")


def cells_of(plan: Plan) -> list[Cell]:
    """All trainings of the plan but the alignments."""
    control_seeds = len(plan.seeds) if plan.loaded_only else plan.control_seeds
    return [
        Cell(name, regime, setting, seed)
        for place, seed in enumerate(plan.seeds)
        for setting in plan.settings
        for name in plan.systems
        for regime in plan.regimes
        if not SYSTEMS[name].control
        or ((regime, setting) == (plan.regimes[0], plan.settings[0]) and place < control_seeds)
    ]


def rounds(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    """For each seed and setting, yield the cells that start from the alignment, then those that start from soft."""
    groups: dict[tuple[int, str], list[Cell]] = {}
    for cell in dict.fromkeys(cells):
        groups.setdefault((cell.seed, cell.setting), []).append(cell)
    for group in groups.values():
        yield [cell for cell in group if not SYSTEMS[cell.system].after_soft]
        yield [cell for cell in group if SYSTEMS[cell.system].after_soft]


class Matrix:
    """Calls run.sh with the plan's common options."""

    def __init__(self, plan: Plan):
        self.exp = "exp" if plan.scale == "mini" else f"exp_{plan.scale}"
        self.logs = Path(self.exp) / "logs" / "matrix"
        self.settings = list(plan.sft_args)
        config = load_yaml(TrainConfig, Path("conf") / plan.scale / "sft.yaml", parse_overrides(self.settings))
        self.epochs = config.epochs
        self.loaded_only = plan.loaded_only
        self.jobs, self.nproc = plan.jobs, str(plan.nproc)
        self.common = ["--scale", plan.scale, *plan.common]
        # By default each PyTorch process uses all cores: two trainings on two cores then take 8 times as long.
        threads = max(1, len(os.sched_getaffinity(0)) // (plan.jobs * plan.nproc))
        self.environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        self.invocation = {"INVOCATION": plan.invocation, **os.environ}

    def run_sh(self, *words: str) -> None:
        """Run stages that all systems share. Raises CalledProcessError."""
        subprocess.run(["./run.sh", *words, *self.common], env=self.invocation, check=True)

    def untrained(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells that were not loaded, and the loaded soft runs whose weights one of them starts from."""
        found = [cell for cell in cells if not self.is_loaded(cell)]
        for cell in tuple(found):
            if SYSTEMS[cell.system].after_soft and self.is_loaded(cell.soft) and cell.soft not in found:
                log(f"{cell.soft.directory(self.exp)}: loaded without weights; training it again for {cell.name}")
                found.append(cell.soft)
        return found

    def align(self, regime: str, is_needed: bool) -> None:
        """Train, decode and score the alignment; score it only if it was loaded and no training needs its weights."""
        directory, stage = Path(self.exp) / f"align_{regime}", "5"
        if is_loaded(directory):
            stage = "5" if is_needed else "8"
            if is_needed:
                log(f"{directory}: loaded without weights; training it again for systems that were not loaded")
        elif self.loaded_only:
            return
        only = ("--alignment_only", "true", "--alignment_sets", "all")
        self.run_sh("--stage", stage, "--stop-stage", "8", "--regime", regime, *only)

    def run_all(self, cells: Sequence[Cell], untrained: Collection[Cell]) -> list[str]:
        """Train, decode and score, or only score what was loaded. Returns the names of the systems that failed."""
        failed = []
        with ThreadPoolExecutor(self.jobs) as pool, tqdm(total=len(cells), unit="system", disable=not cells) as bar:
            running = {pool.submit(self._run, cell, cell in untrained): cell.name for cell in cells}
            for done in as_completed(running):
                if done.result() != 0:
                    failed.append(running[done])
                    log(f"{failed[-1]}: FAILED; see {self.logs}/{failed[-1]}.log")
                bar.update()
        return failed

    def _run(self, cell: Cell, train: bool) -> int:
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{cell.name}.log").open("a", encoding="utf-8") as stream:
            command = cell.command(self.epochs, self.exp, self.settings) if train else cell.scoring()
            return subprocess.run(
                [*command, "--nproc", self.nproc, *self.common],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=self.environment,
                check=False,
            ).returncode

    def is_loaded(self, cell: Cell) -> bool:
        return is_loaded(Path(cell.directory(self.exp)))


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
    options.add_argument(
        "--control_seeds", type=int, default=default.control_seeds, help="number of seeds of each control"
    )
    options.add_argument("--sft_args", default="", help="override conf/*/sft.yaml for every system, such as 'epochs=1'")
    options.add_argument("--jobs", type=int, default=default.jobs, help="systems to train in parallel")
    options.add_argument("--nproc", type=int, default=default.nproc, help="training processes per system without GPUs")
    options.add_argument("--scale", choices=("mini", "full"), default=default.scale, help="as in run.sh")
    options.add_argument("--save", type=Path, help="archive for the results of all trainings, such as cells.tar.xz")
    options.add_argument(
        "--load", type=Path, nargs="+", default=[], metavar="FILE", help="archives of trainings not to run again"
    )
    options.add_argument(
        "--loaded_only", type=str2bool, default=False, help="true: train nothing; report the loaded trainings"
    )
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)

    def step(given: argparse.Namespace) -> None:
        reproduce(
            Plan(
                systems=tuple(given.systems),
                regimes=tuple(given.regimes),
                settings=tuple(given.settings),
                seeds=tuple(given.seeds),
                control_seeds=given.control_seeds,
                sft_args=tuple(given.sft_args.split()),
                jobs=given.jobs,
                nproc=given.nproc,
                scale=given.scale,
                common=tuple(words[cut + 1 :]),
                invocation=shlex.join(["local/reproduce.sh", *words]),
                load=tuple(given.load),
                loaded_only=given.loaded_only,
                save=given.save,
            )
        )

    return run_step(step, options.parse_args(words[:cut]), "local.reproduce")


if __name__ == "__main__":
    sys.exit(main())
