"""Stage 0. Mini scale: make the corpora, lists and backbones. Full scale: say what is there and what is missing.

In: conf/. Out at mini scale: downloads/ and exp/backbones. At full scale nothing is written or downloaded; the table
of corpora, lists and weights is printed, and exit status 1 says that something needed is missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from zipperasr.cli import parser, run_step, str2bool
from zipperasr.data.datasets import SETTINGS


def prepare(options: argparse.Namespace) -> None:
    """One scale's stage 0."""
    if options.scale == "full":
        from zipperasr.data.inventory import check_inventory

        corpora = options.corpora or "conf/full/corpora.yaml"
        check_inventory(options.datasets, options.languages, corpora, [options.encoder, options.llm], options.setting)
        return
    from local.mini.corpora import make_corpora

    make_corpora(options.out, options.nj, options.config, options.datasets, options.languages)
    if options.train_backbones:
        from local.mini.backbones import main as train

        if train(["--train", "--out", str(options.backbones), "--nj", str(options.nj)]):
            raise ValueError("the mini backbones could not be trained; the lines above say why")
    elif options.backbones != Path("none"):
        from local.mini.backbones import install

        install(options.backbones)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--scale", default="mini", choices=("mini", "full"), help="mini: synthesise; full: check")
    options.add_argument("--out", type=Path, default=Path("downloads"), help="mini: where the corpora go")
    options.add_argument("--config", default="conf/mini/mini_corpora.yaml", help="mini: sizes of the corpora")
    options.add_argument("--datasets", default="conf/datasets.tsv", help="table of data sets")
    options.add_argument("--languages", default="conf/languages.tsv", help="table of languages")
    options.add_argument("--corpora", default=None, help="full: where the corpora lie (conf/full/corpora.yaml)")
    options.add_argument("--setting", default="1h", choices=SETTINGS, help="full: whose corpora and lists are needed")
    options.add_argument("--encoder", default="openai/whisper-large-v3", help="full: directory or hub id")
    options.add_argument("--llm", default="Qwen/Qwen3-1.7B", help="full: directory or hub id")
    options.add_argument("--backbones", type=Path, default=Path("exp/backbones"), help="mini: where the backbones go")
    options.add_argument("--train_backbones", type=str2bool, default=False, help="mini: train the backbones anew")
    options.add_argument("--nj", type=int, default=os.cpu_count(), help="processes")
    return run_step(prepare, options.parse_args(argv), "stage 0")


if __name__ == "__main__":
    sys.exit(main())
