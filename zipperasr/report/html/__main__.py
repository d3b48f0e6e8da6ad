"""report.html: error rates with intervals, every utterance with its alignment and audio, confusions. One file.

In: exp/*/decode_*/ after stage 8, dump/raw. Out: a page that needs no network, and <page>_audio/ beside it. Stage 9
writes it for all decodings; this command can select some.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zipperasr.cli import log, parser, run_step, str2bool
from zipperasr.languages import LanguageTable
from zipperasr.report.html.page_settings import PageSettings

if TYPE_CHECKING:
    from zipperasr.report.collect import Decoding

AUDIO = ("copy", "none")


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--exp", type=Path, default=Path("exp"), help="models and their scored decodings")
    options.add_argument("--decoding", nargs="*", default=[], help="only these decodings, as MODEL/decode_X [all]")
    options.add_argument("--raw", type=Path, default=Path("dump/raw"), help="output of stage 2: durations and audio")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="language table")
    options.add_argument("--out", type=Path, default=Path("report.html"), help="the page to write")
    add_page_settings(options)
    return run_step(_run, options.parse_args(argv), "report.html")


def add_page_settings(options: argparse.ArgumentParser) -> None:
    """Add the options of `PageSettings`."""
    default = PageSettings()
    options.add_argument("--audio", choices=AUDIO, default=default.audio, help="copy audio beside report.html, or not")
    options.add_argument(
        "--audio_utts",
        type=int,
        default=default.audio_utts,
        help="utterances per test set whose audio is copied: those with the most errors in any system",
    )
    options.add_argument(
        "--max_utts",
        type=int,
        default=default.max_utts,
        help="largest number of utterances in report.html, over all systems; further test sets have scores only",
    )
    options.add_argument(
        "--word_times",
        type=str2bool,
        default=default.word_times,
        help="where a model has an aligner, decode utterances with audio again for the times of their words",
    )


def page_settings(options: argparse.Namespace) -> PageSettings:
    """The values of the options that `add_page_settings` added."""
    return PageSettings(options.audio, options.audio_utts, options.max_utts, options.word_times)


def _run(options: argparse.Namespace) -> None:
    from zipperasr.report.collect import find_decodings
    from zipperasr.report.html.assemble import write_page

    decodings = _chosen(find_decodings(options.exp), options.decoding)
    languages = LanguageTable.load(options.languages)
    num_utts = write_page(decodings, languages, options.raw, options.out, page_settings(options))
    log(f"written: {options.out}, {len(decodings)} systems, {num_utts:,} utterances")


def _chosen(decodings: list[Decoding], wanted: Sequence[str]) -> list[Decoding]:
    if not wanted:
        return decodings
    known = {f"{d.model.directory.name}/{d.directory.name}": d for d in decodings}
    for name in wanted:
        if name not in known:
            raise ValueError(f"--decoding {name}: no scored decoding of that name; choose from {', '.join(known)}")
    return [decoding for name, decoding in known.items() if name in wanted]


if __name__ == "__main__":
    sys.exit(main())
