"""Stage 9: write RESULTS.md, report.html and figures from the output of all stages.

Reads exp/ (scores, logs, cosines of the language embeddings), dump/ and conf/; scores are required. Writes RESULTS.md,
RESULTS.tsv with every score, report.html with every utterance, exp/figures/*.png, and CLAIMS.md if there are systems to
compare. Sections without data are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from zipperasr.cli import parser, run_step, str2bool
from zipperasr.report.html.__main__ import add_page_settings, page_settings


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--exp", type=Path, default=Path("exp"), help="models, decodings, stage times")
    options.add_argument("--raw", type=Path, default=Path("dump/raw"), help="output of stage 2")
    options.add_argument("--data", type=Path, default=Path("data"), help="output of stage 1, for its report.tsv")
    options.add_argument("--dump", type=Path, default=Path("dump"), help="output of stage 3, for packing.json")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--datasets", type=Path, default=Path("conf/datasets.tsv"), help="dataset table")
    options.add_argument("--corpora", type=Path, default=Path("conf/mini/corpora.yaml"), help="corpus directories")
    options.add_argument("--out", type=Path, default=Path("RESULTS.md"), help="page to write")
    options.add_argument("--figures", type=Path, help="directory of the figures [figures below --exp]")
    options.add_argument("--benchmark_out", type=Path, help="also write the table of stage times here")
    options.add_argument("--html", type=str2bool, default=True, help="also write report.html, with every utterance")
    add_page_settings(options)
    options.add_argument("--command", default="", help="command line to show in the page")
    return run_step(_run, options.parse_args(argv), "stage 9")


def _run(options: argparse.Namespace) -> None:
    from zipperasr.report.page import Sources
    from zipperasr.report.results import write_report

    write_report(
        Sources(*(getattr(options, field.name) for field in fields(Sources))),
        options.out,
        figures=options.figures,
        benchmark_out=options.benchmark_out,
        html=page_settings(options) if options.html else None,
    )


if __name__ == "__main__":
    sys.exit(main())
