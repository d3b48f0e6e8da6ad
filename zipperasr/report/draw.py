"""Draw every figure that there is data for.

In: decodings, trainings, exp/lid. Out: {title: path} in the order of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.model.config import REGIMES
from zipperasr.report.collect import Decoding, Training, by_system
from zipperasr.report.figures.bars import draw_bars
from zipperasr.report.figures.change import draw_changes
from zipperasr.report.figures.lid import draw_cosines, read_cosines
from zipperasr.report.figures.loss import draw_loss
from zipperasr.report.figures.radar import draw_radar
from zipperasr.report.figures.router import draw_router
from zipperasr.report.groups import GROUPS, Groups
from zipperasr.report.tables import mean_rate, rate_by_language

TARGETS = ("larger", "small")
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
    for regime in REGIMES:
        rates = _mean_rates([d for d in decodings if d.regime == regime and d.model.setting == "1h"], groups, languages)
        path = directory / f"radar_{regime}.png"
        if draw_radar(path, [*groups.larger, *groups.small], rates, f"{regime} encoder"):
            drawn[f"Target languages, {regime} encoder (the paper's Fig. 5)"] = path
    if draw_changes(directory / "change.png", _small_by_setting(decodings, groups, languages)):
        drawn["Small languages relative to vanilla (the paper's Fig. 6)"] = directory / "change.png"
    trainings = _first_seeds(trainings)
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


def _first_seeds(trainings: Sequence[Training]) -> list[Training]:
    """One training of each system: curves of further seeds would hide those of further systems."""
    first: dict[tuple[str, str], Training] = {}
    for training in trainings:
        first.setdefault((training.model.system, training.model.regime), training)
    return list(first.values())


def _mean_rates(decodings: Sequence[Decoding], groups: Groups, languages: LanguageTable) -> dict[str, dict[str, float]]:
    """{system: {target language: mean over the seeds}} of adapted models."""
    rates: dict[str, dict[str, float]] = {}
    for runs in by_system([decoding for decoding in decodings if decoding.model.phase == "sft"]):
        by_seed = [
            {code: rate for group in TARGETS for code, rate in rate_by_language(run, group, groups, languages).items()}
            for run in runs
        ]
        shared = set.intersection(*map(set, by_seed))
        rates[runs[0].model.label] = {code: fmean(rate[code] for rate in by_seed) for code in shared}
    return rates


def _small_by_setting(decodings: Sequence[Decoding], groups: Groups, languages: LanguageTable):
    """{setting and regime: {system: mean over the small languages, for each seed}}."""
    panels: dict[str, dict[str, list[float]]] = {}
    for runs in by_system([decoding for decoding in decodings if decoding.model.phase == "sft"]):
        rates = [mean_rate(run, "small", groups, languages) for run in runs]
        if None not in rates:
            title = f"{runs[0].model.setting.removesuffix('h')} h, {runs[0].regime} encoder"
            panels.setdefault(title, {})[runs[0].model.label] = rates
    return panels


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
