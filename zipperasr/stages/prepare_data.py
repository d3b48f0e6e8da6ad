"""Stage 1: Kaldi data directories from the corpora.

Reads conf/datasets.tsv, conf/languages.tsv, conf/SCALE/corpora.yaml and the corpora; writes data/{train,dev,test}_*,
data/sets.tsv, and data/report.tsv, which says what each utterance list held and how much of it was found.
"""

from __future__ import annotations

import os
import sys

from zipperasr.cli import parser, run_step, str2bool
from zipperasr.prepare.dataset_table import SETTINGS
from zipperasr.prepare.prepare import prepare


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--datasets", default="conf/datasets.tsv", help="table of data sets")
    options.add_argument("--languages", default="conf/languages.tsv", help="table of languages")
    options.add_argument("--corpora", default="conf/mini/corpora.yaml", help="where the corpora lie")
    options.add_argument("--setting", default="1h", choices=SETTINGS, help="size of the four small languages")
    options.add_argument("--out", default="data", help="directory to write")
    options.add_argument("--strict_lists", type=str2bool, default=False, help="flaws of lists are errors")
    options.add_argument("--max_missing_share", type=float, default=0.01, help="of a list's ids; more is an error")
    options.add_argument("--max_dev_utts", type=int, default=2000, help="utterances a dev set holds at most")
    options.add_argument("--seed", type=int, default=17, help="of sampling and of held-out dev sets")
    options.add_argument("--nj", type=int, default=os.cpu_count(), help="threads that read audio headers")
    return run_step(prepare, options.parse_args(argv), "stage 1")


if __name__ == "__main__":
    sys.exit(main())
