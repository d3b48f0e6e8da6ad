"""Stage 0: corpora and backbones, as the scale's configuration asks for them.

In: conf/SCALE. A scale with mini_corpora.yaml gets synthetic corpora where its corpora.yaml looks for them. One with
backbones.yaml gets the small backbones that come with the project; one with random_backbones.yaml, random weights in
the published shapes. Everything else must be there already: then a table says what is present, what is missing and
where to get it, and exit status 1 that something is missing. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from zipperasr.cli import parser, run_step, str2bool
from zipperasr.config import load_yaml
from zipperasr.model.model_config import ModelConfig
from zipperasr.prepare.dataset_table import SETTINGS, load_corpora


def prepare(options: argparse.Namespace) -> None:
    """One scale's stage 0."""
    if (options.conf / "mini_corpora.yaml").is_file():
        _make_corpora(options)
        _make_backbones(options)
        return
    from zipperasr.plan.inventory import check_inventory

    model = load_yaml(ModelConfig, options.conf / "model.yaml")
    backbones = [model.whisper, model.llm]
    check_inventory(options.datasets, options.languages, options.conf / "corpora.yaml", backbones, options.setting)


def _make_corpora(options: argparse.Namespace) -> None:
    from local.mini.corpora import make_corpora
    from local.mini.layouts import LAYOUTS

    path = options.conf / "corpora.yaml"
    config = load_corpora(path)
    out = Path(config.utt_ids).parent
    for corpus in LAYOUTS:
        if config.root_of(corpus, path) != out / corpus:
            raise ValueError(f"{path}: {corpus}: got {config.roots[corpus]}, wanted {out / corpus}, beside utt_ids")
    make_corpora(out, options.nj, options.conf / "mini_corpora.yaml", options.datasets, options.languages)


def _make_backbones(options: argparse.Namespace) -> None:
    model = load_yaml(ModelConfig, options.conf / "model.yaml")
    out = Path(model.whisper).parent
    if (options.conf / "random_backbones.yaml").is_file():
        from local.rehearsal.backbones import make_random_backbones

        make_random_backbones(options.conf / "random_backbones.yaml", out)
    elif options.train_backbones:
        from local.mini.backbones import main as train

        if train(["--train", "--out", str(out), "--nj", str(options.nj)]):
            raise ValueError("training the mini backbones failed; see the lines above")
    else:
        from local.mini.backbones import install

        install(out)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--conf", type=Path, default=Path("conf/mini"), help="configuration directory of the scale")
    options.add_argument("--datasets", default="conf/datasets.tsv", help="table of data sets")
    options.add_argument("--languages", default="conf/languages.tsv", help="table of languages")
    options.add_argument("--setting", default="1h", choices=SETTINGS, help="full: whose corpora and lists are needed")
    options.add_argument("--train_backbones", type=str2bool, default=False, help="mini: train the backbones anew")
    options.add_argument("--nj", type=int, default=os.cpu_count(), help="processes")
    return run_step(prepare, options.parse_args(argv), "stage 0")


if __name__ == "__main__":
    sys.exit(main())
