"""Stage 1: make Kaldi data directories from the corpora.

Reads conf/datasets.tsv, conf/languages.tsv, conf/SCALE/corpora.yaml and the corpora. Writes data/{train,dev,test}_*,
data/sets.tsv, and data/report.tsv, which lists what each utterance list contains and how much of it was found.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from zipperasr.cli import parser, run_step, str2bool
from zipperasr.prepare.dataset_table import SETTINGS
from zipperasr.prepare.prepare import Tables, prepare
from zipperasr.prepare.set_builder import SetOptions


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--datasets", type=Path, default=Path("conf/datasets.tsv"), help="dataset table")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument(
        "--corpora", type=Path, default=Path("conf/mini/corpora.yaml"), help="locations of the corpora"
    )
    options.add_argument("--setting", default="1h", choices=SETTINGS, help="training hours per low-resource language")
    options.add_argument("--out", type=Path, default=Path("data"), help="output directory")
    options.add_argument(
        "--strict_lists", type=str2bool, default=False, help="treat defects of the utterance lists as errors"
    )
    options.add_argument(
        "--max_missing_share", type=float, default=0.01, help="largest share of a set's utterances that may be missing"
    )
    options.add_argument("--max_dev_utts", type=int, default=2000, help="largest size of a dev set, in utterances")
    options.add_argument("--seed", type=int, default=17, help="random seed of sampling and of held-out dev sets")
    options.add_argument(
        "--nj",
        type=int,
        default=os.cpu_count(),
        help="number of processes; each makes the sets of one row of the table",
    )
    given = options.parse_args(argv)
    tables = Tables(given.datasets, given.languages, given.corpora)
    set_options = SetOptions(given.strict_lists, given.max_missing_share, given.max_dev_utts, given.seed)
    return run_step(lambda given: prepare(tables, given.out, given.setting, set_options, given.nj), given, "stage 1")


if __name__ == "__main__":
    sys.exit(main())
