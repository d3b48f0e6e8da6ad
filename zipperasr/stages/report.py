"""Stage 9: RESULTS.md, report.html and figures from everything the stages left.

In: exp/ (scores, logs, LID cosines), dump/, conf/. Out: RESULTS.md, RESULTS.tsv with every score, exp/figures/*.png;
report.html with every utterance; CLAIMS.md where systems can be compared; with --benchmark_out, stage times. Parts
whose source is absent are left out with a line that names the stage; scores must be there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from zipperasr.atomic import atomic_path
from zipperasr.cli import log, parser, run_step, str2bool
from zipperasr.languages import LanguageTable
from zipperasr.report.claims.claims_page import any_tested, claims_page
from zipperasr.report.claims.controls import controls
from zipperasr.report.claims.systems import Scored
from zipperasr.report.claims.twelve import all_claims
from zipperasr.report.claims.verdict import Claim
from zipperasr.report.collect import Training, added_languages, find_decodings, find_trainings
from zipperasr.report.costs import encoder_parameters
from zipperasr.report.draw import draw_all
from zipperasr.report.figures.lid import read_cosines
from zipperasr.report.groups import load_groups
from zipperasr.report.html.assemble import write_page
from zipperasr.report.html.page_settings import Settings, add_settings
from zipperasr.report.page import CLAIMS, HTML, SCORES, Sources, benchmark_page, results_page
from zipperasr.report.tables import all_scores
from zipperasr.sole_writer import sole_writer


def report(options: argparse.Namespace) -> None:
    """Read, draw, write."""
    with sole_writer(options.out):
        _report(options)


def _report(options: argparse.Namespace) -> None:
    languages = LanguageTable.load(options.languages)
    groups = load_groups(options.datasets, languages, added_languages(options.exp))
    decodings = find_decodings(options.exp)
    trainings = find_trainings(options.exp)
    log(f"{len(decodings)} decodings and {len(trainings)} trainings found below {options.exp}")
    drawn = draw_all(options.exp, decodings, trainings, groups, languages, options.figures)
    figures = {title: os.path.relpath(path, options.out.parent) for title, path in drawn.items()}
    scored = Scored(decodings, trainings, groups, languages)
    claims = _claims(options.exp, scored, trainings)
    sources = Sources(*(getattr(options, field.name) for field in fields(Sources)))
    _write(options.out, results_page(decodings, trainings, groups, languages, figures, claims, sources))
    _write(options.out.with_name(SCORES), all_scores(decodings))
    if claims:
        _write(options.out.with_name(CLAIMS), claims_page(claims, controls(scored)))
    if options.benchmark_out:
        _write(options.benchmark_out, benchmark_page(sources))
    log(f"written: {options.out}, {len(drawn)} figures")
    if options.html:
        page = options.out.with_name(HTML)
        num_utts = write_page(decodings, languages, options.raw, page, Settings.of(options))
        log(f"written: {page}, {num_utts:,} utterances")


def _claims(exp: Path, scored: Scored, trainings: Sequence[Training]) -> list[Claim]:
    """The paper's claims, or none where no two systems can be compared."""
    cosines = exp / "lid" / "cosine_token.tsv"
    codes, values = read_cosines(cosines) if cosines.is_file() else ([], np.zeros((0, 0)))
    claims = list(all_claims(scored, codes, values, encoder_parameters(trainings)))
    return claims if any_tested(claims) else []


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--exp", type=Path, default=Path("exp"), help="models, decodings, stage times")
    options.add_argument("--raw", type=Path, default=Path("dump/raw"), help="stage 2's output")
    options.add_argument("--data", type=Path, default=Path("data"), help="stage 1's output, for its report.tsv")
    options.add_argument("--dump", type=Path, default=Path("dump"), help="stage 3's output, for the packing fill")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="the language table")
    options.add_argument("--datasets", type=Path, default=Path("conf/datasets.tsv"), help="the data set table")
    options.add_argument("--corpora", type=Path, default=Path("conf/mini/corpora.yaml"), help="names the lists' root")
    options.add_argument("--out", type=Path, default=Path("RESULTS.md"), help="the page to write")
    options.add_argument("--figures", type=Path, help="the figures' directory [figures below --exp]")
    options.add_argument("--benchmark_out", type=Path, help="also write the table of stage times here")
    options.add_argument("--html", type=str2bool, default=True, help="also write report.html, with every utterance")
    add_settings(options)
    options.add_argument("--command", default="", help="the command line to name in the page")
    return run_step(report, options.parse_args(argv), "report")


if __name__ == "__main__":
    sys.exit(main())
