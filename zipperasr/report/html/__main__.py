"""report.html: error rates with intervals, every utterance with its alignment and audio, confusions. One file.

In: exp/*/decode_*/ after stage 8, dump/raw. Out: a page that needs no network, and <page>_audio/ beside it. Stage 9
does the same for all decodings; here some can be chosen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zipperasr.cli import log, parser, run_step
from zipperasr.languages import LanguageTable
from zipperasr.report.collect import Decoding, find_decodings
from zipperasr.report.html.assemble import write_page
from zipperasr.report.html.page_settings import Settings, add_settings


def html(options: argparse.Namespace) -> None:
    """Read, choose, write."""
    decodings = _chosen(find_decodings(options.exp), options.decoding)
    languages = LanguageTable.load(options.languages)
    num_utts = write_page(decodings, languages, options.raw, options.out, Settings.of(options))
    log(f"written: {options.out}, {len(decodings)} systems, {num_utts:,} utterances")


def _chosen(decodings: list[Decoding], wanted: Sequence[str]) -> list[Decoding]:
    if not wanted:
        return decodings
    known = {f"{d.model.directory.name}/{d.directory.name}": d for d in decodings}
    for name in wanted:
        if name not in known:
            raise ValueError(f"--decoding {name}: no scored decoding of that name; choose from {', '.join(known)}")
    return [decoding for name, decoding in known.items() if name in wanted]


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--exp", type=Path, default=Path("exp"), help="models and their scored decodings")
    options.add_argument("--decoding", nargs="*", default=[], help="only these, as MODEL/decode_X [all]")
    options.add_argument("--raw", type=Path, default=Path("dump/raw"), help="stage 2's output: durations and audio")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="the language table")
    options.add_argument("--out", type=Path, default=Path("report.html"), help="the page to write")
    add_settings(options)
    return run_step(html, options.parse_args(argv), "report.html")


if __name__ == "__main__":
    sys.exit(main())
