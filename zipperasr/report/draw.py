"""Draw every figure that there is data for.

In: decodings, trainings, exp/lid. Out: {title: path} in the order of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.report.collect import Decoding, Training, by_system
from zipperasr.report.figures.bars import draw_bars
from zipperasr.report.figures.lid import draw_cosines, read_cosines
from zipperasr.report.figures.loss import draw_loss
from zipperasr.report.figures.router import draw_router
from zipperasr.report.groups import GROUPS, Groups
from zipperasr.report.tables import rate_by_language

LID_TITLES = {
    "token": "Cosine of Whisper's language token embeddings",
    "state": "Cosine of decoder states at the language token",
}


def draw_all(
    exp: Path, decodings: Sequence[Decoding], trainings: Sequence[Training], groups: Groups, languages: LanguageTable
) -> dict[str, Path]:
    """Write exp/figures/*.png."""
    directory = exp / "figures"
    drawn: dict[str, Path] = {}
    if draw_bars(directory / "error_rates.png", _panels(decodings, groups, languages)):
        drawn["Error rates by language"] = directory / "error_rates.png"
    if draw_loss(directory / "loss.png", trainings):
        drawn["Loss curves"] = directory / "loss.png"
    for mode, title in LID_TITLES.items():
        cosines = exp / "lid" / f"cosine_{mode}.tsv"
        if cosines.is_file():
            drawn[title] = directory / f"lid_{mode}.png"
            draw_cosines(drawn[title], *read_cosines(cosines), title)
        else:
            log(f"{cosines}: absent, no heat map; stage 4 writes it")
    for training in trainings:
        path = directory / f"router_{training.model.directory.name}.png"
        if draw_router(path, training):
            drawn[f"Router of {training.model.directory.name}"] = path
    return drawn


def _panels(decodings: Sequence[Decoding], groups: Groups, languages: LanguageTable):
    """The bars' data: by group, languages with their unit and a mark where stage 2 has no data."""
    panels = {}
    for group in GROUPS:
        labels = {code: _label(code, groups, languages) for code in groups.codes(group)}
        rates = {}
        for runs in by_system(decodings):
            by_code = [rate_by_language(run, group, groups, languages) for run in runs]
            shared = set.intersection(*map(set, by_code))
            rates[runs[0].name] = {
                labels[code]: fmean(rate[code] for rate in by_code) for code in labels if code in shared
            }
        panels[_title(group, groups)] = (list(labels.values()), rates)
    return panels


def _label(code: str, groups: Groups, languages: LanguageTable) -> str:
    unit = "\nCER" if languages[code].unit == "cer" else ""
    return code + ("*" if code in groups.without_sft_data else "") + unit


def _title(group: str, groups: Groups) -> str:
    if group == "source":
        return "source domain" + (" (* no SFT data)" if groups.without_sft_data else "")
    return f"{group} target languages"
