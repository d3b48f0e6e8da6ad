"""Write a report (stage 9): RESULTS.md, RESULTS.tsv, CLAIMS.md, figures and report.html.

In: exp/, dump/, data/ and conf/ after stage 8. Out: the files beside RESULTS.md, and the figures. CLAIMS.md is written
if there are at least two adapted systems to compare.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from zipperasr.atomic import atomic_path
from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.report.claims.checks import checks_table
from zipperasr.report.claims.claims_page import claims_page, find_controls
from zipperasr.report.claims.systems import Scored
from zipperasr.report.claims.twelve import all_claims
from zipperasr.report.claims.verdict import Claim
from zipperasr.report.collect import Run, read_run
from zipperasr.report.costs import encoder_parameters
from zipperasr.report.figures import draw_all
from zipperasr.report.figures.lid import read_cosines
from zipperasr.report.html.assemble import write_page
from zipperasr.report.html.page_settings import PageSettings
from zipperasr.report.page import CLAIMS, HTML, SCORES, Sources, benchmark_page, results_page
from zipperasr.report.tables import all_scores
from zipperasr.sole_writer import sole_writer


def write_report(
    sources: Sources,
    out: Path,
    *,
    figures: Path | None = None,
    benchmark_out: Path | None = None,
    html: PageSettings | None = None,
) -> None:
    """Write `out` (RESULTS.md) and the files beside it.

    Args:
        figures: directory of the figures; None: figures below `sources.exp`.
        benchmark_out: also write the stage times there.
        html: settings of report.html; None: do not write it.
    """
    with sole_writer(out):
        languages = LanguageTable.load(sources.languages)
        run = read_run(sources.exp, sources.datasets, languages)
        log(f"{len(run.decodings)} decodings and {len(run.trainings)} trainings below {sources.exp}")
        drawn = draw_all(run, figures or sources.exp / "figures")
        links = {title: os.path.relpath(path, out.parent) for title, path in drawn.items()}
        scored = Scored(run)
        claims = _claims(run, scored)
        _write(out, results_page(run, links, claims, checks_table(scored), sources))
        _write(out.with_name(SCORES), all_scores(run.decodings))
        if claims:
            _write(out.with_name(CLAIMS), claims_page(claims, find_controls(scored)))
        if benchmark_out:
            _write(benchmark_out, benchmark_page(sources))
        log(f"written: {out}, {len(drawn)} figures")
        if html:
            page = out.with_name(HTML)
            num_utts = write_page(run.decodings, languages, sources.raw, page, html)
            log(f"written: {page}, {num_utts:,} utterances")


def _claims(run: Run, scored: Scored) -> list[Claim]:
    """The paper's claims; [] if no two systems can be compared."""
    if not scored.can_compare():
        return []
    cosines = run.exp / "lid" / "cosine_token.tsv"
    codes, values = read_cosines(cosines) if cosines.is_file() else ([], np.zeros((0, 0)))
    return list(all_claims(scored, codes, values, encoder_parameters(run.trainings)))


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
