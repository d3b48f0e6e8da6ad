"""Stage 0: make or check the corpora and backbones that a scale's configuration names.

A scale with mini_corpora.yaml gets synthetic corpora in the directories of its corpora.yaml. With backbones.yaml it
gets the small backbones that the project ships; with random_backbones.yaml, random weights in the published shapes.
Otherwise corpora and backbones must exist: a table lists what is present, what is missing and where to get it, and the
exit status is 1 if something is missing. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zipperasr.cli import parser, run_step, str2bool
from zipperasr.config import load_yaml
from zipperasr.prepare.dataset_table import SETTINGS, load_corpora

if TYPE_CHECKING:
    from zipperasr.model.model_config import ModelConfig


@dataclass(frozen=True)
class Sources:
    """The configuration that stage 0 reads."""

    conf: Path  # directory of the scale
    datasets: Path
    languages: Path


def prepare(sources: Sources, setting: str, train_backbones: bool, nj: int) -> None:
    """Make corpora and backbones of a synthetic scale; check those of any other. Raises ValueError."""
    if (sources.conf / "mini_corpora.yaml").is_file():
        _make_corpora(sources, nj)
        _make_backbones(sources.conf, train_backbones, nj)
        return
    from zipperasr.plan.inventory import check_inventory

    model = _model(sources.conf)
    backbones = [model.whisper, model.llm]
    check_inventory(sources.datasets, sources.languages, sources.conf / "corpora.yaml", backbones, setting)


def _make_corpora(sources: Sources, nj: int) -> None:
    from local.mini.corpora import make_corpora
    from local.mini.layouts import LAYOUTS

    path = sources.conf / "corpora.yaml"
    config = load_corpora(path)
    out = Path(config.utt_ids).parent
    for corpus in LAYOUTS:
        if config.root_of(corpus, path) != out / corpus:
            raise ValueError(f"{path}: {corpus}: got {config.roots[corpus]}, wanted {out / corpus}, next to utt_ids")
    make_corpora(out, nj, sources.conf / "mini_corpora.yaml", sources.datasets, sources.languages)


def _make_backbones(conf: Path, train: bool, nj: int) -> None:
    out = Path(_model(conf).whisper).parent
    if (conf / "random_backbones.yaml").is_file():
        from local.rehearsal.backbones import make_random_backbones

        make_random_backbones(conf / "random_backbones.yaml", out)
    elif train:
        from local.mini.backbones import train_backbones

        train_backbones(out, nj)
    else:
        from local.mini.backbones import install

        install(out)


def _model(conf: Path) -> ModelConfig:
    from zipperasr.model.model_config import ModelConfig  # loads torch, which the processes of make_corpora do not need

    return load_yaml(ModelConfig, conf / "model.yaml")


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--conf", type=Path, default=Path("conf/mini"), help="configuration directory of the scale")
    options.add_argument("--datasets", type=Path, default=Path("conf/datasets.tsv"), help="table of data sets")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="table of languages")
    options.add_argument(
        "--setting", default="1h", choices=SETTINGS, help="full scale: the setting whose corpora and lists to check"
    )
    options.add_argument(
        "--train_backbones", type=str2bool, default=False, help="mini scale: train the backbones instead of copying"
    )
    options.add_argument("--nj", type=int, default=os.cpu_count(), help="processes")

    def step(given: argparse.Namespace) -> None:
        sources = Sources(given.conf, given.datasets, given.languages)
        prepare(sources, given.setting, given.train_backbones, given.nj)

    return run_step(step, options.parse_args(argv), "stage 0")


if __name__ == "__main__":
    sys.exit(main())
