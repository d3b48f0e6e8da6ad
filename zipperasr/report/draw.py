"""Draw every figure that there is data for.

In: decodings, trainings, exp/lid. Out: {title: path} in the order of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from zipperasr.cli import log
from zipperasr.languages import LanguageTable
from zipperasr.model.model_config import REGIMES
from zipperasr.report.cluster_statistics import silhouettes, target_means
from zipperasr.report.collect import Decoding, Training, by_system
from zipperasr.report.figures.bars import draw_bars
from zipperasr.report.figures.change import draw_changes
from zipperasr.report.figures.clusters import draw_clusters
from zipperasr.report.figures.lid import draw_cosines, read_cosines
from zipperasr.report.figures.loss import draw_loss
from zipperasr.report.figures.radar import draw_radar
from zipperasr.report.figures.router import draw_router
from zipperasr.report.groups import GROUPS, Groups
from zipperasr.report.paper import RESOURCES, STAGE_1, SYSTEMS
from zipperasr.report.tables import mean_rate, rate_by_language

TARGETS = ("larger", "small")
MOST_SYSTEMS = 9  # of one figure: more cannot be told apart
CLUSTERED = ("vanilla", "zipper_soft")  # panels of the paper's Fig. 8
Run = TypeVar("Run", Decoding, Training)
LID_TITLES = {
    "token": "Cosine of Whisper's language token embeddings",
    "state": "Cosine of decoder states at the language token",
}


def draw_all(
    exp: Path,
    decodings: Sequence[Decoding],
    trainings: Sequence[Training],
    groups: Groups,
    languages: LanguageTable,
    directory: Path | None = None,
) -> dict[str, Path]:
    """Write the figures to `directory`, by default exp/figures."""
    directory = directory or exp / "figures"
    trainings = _first_seeds(trainings)
    drawn: dict[str, Path] = {}
    for regime in REGIMES:
        of_regime = [decoding for decoding in _main_setting(decodings) if decoding.regime == regime]
        trained = [training for training in _main_setting(trainings) if training.model.regime == regime]
        drawn |= _draw_regime(directory, regime, _legible(of_regime), _legible(trained), groups, languages)
    if draw_changes(directory / "change.png", _small_by_setting(_legible(decodings), groups, languages)):
        drawn["Small languages relative to vanilla (the paper's Fig. 6)"] = directory / "change.png"
    drawn |= _draw_lid(exp / "lid", directory)
    for training in _legible(_main_setting(trainings)):
        path = directory / f"router_{training.model.directory.name}.png"
        if draw_router(path, training):
            drawn[f"Router of {training.model.directory.name}"] = path
    return drawn


def _draw_regime(
    directory: Path,
    regime: str,
    decodings: Sequence[Decoding],
    trainings: Sequence[Training],
    groups: Groups,
    languages: LanguageTable,
) -> dict[str, Path]:
    """What is drawn for each encoder regime."""
    drawn = {}
    panels, rates = _panels(decodings, groups, languages), _mean_rates(decodings, groups, languages)
    if draw_bars(path := directory / f"error_rates_{regime}.png", panels):
        drawn[f"Error rates by language, {regime} encoder"] = path
    codes = [*groups.larger, *groups.small]
    if draw_radar(path := directory / f"radar_{regime}.png", codes, rates, f"{regime} encoder"):
        drawn[f"Target languages, {regime} encoder (the paper's Fig. 5)"] = path
    if draw_clusters(path := directory / f"clusters_{regime}.png", *_clusters(decodings, languages)):
        drawn[f"Encoder outputs of the target test sets by t-SNE, {regime} encoder (the paper's Fig. 8)"] = path
    if draw_loss(path := directory / f"loss_{regime}.png", trainings):
        drawn[f"Loss curves, {regime} encoder"] = path
    return drawn


def _draw_lid(lid: Path, directory: Path) -> dict[str, Path]:
    drawn = {}
    for mode, title in LID_TITLES.items():
        cosines = lid / f"cosine_{mode}.tsv"
        if cosines.is_file():
            drawn[title] = directory / f"lid_{mode}.png"
            draw_cosines(drawn[title], *read_cosines(cosines), title)
        else:
            log(f"{cosines}: absent, no heat map; stage 4 writes it")
    return drawn


def _main_setting(runs: Sequence[Run]) -> list[Run]:
    """Those of the 1 h setting, the paper's tables; all where there are none."""
    return [run for run in runs if run.model.setting == "1h"] or list(runs)


def _legible(runs: Sequence[Run]) -> list[Run]:
    """All runs where they are of few systems, else those of the paper's systems."""
    labels = {run.model.label for run in runs}
    kept = labels if len(labels) <= MOST_SYSTEMS else {STAGE_1, *SYSTEMS}
    return [run for run in runs if run.model.label in kept]


def _clusters(decodings: Sequence[Decoding], languages: LanguageTable):
    """({system: utterance means by language}, {system: silhouette}) of the first seed of each system of Fig. 8."""
    means, silhouette = {}, {}
    for decoding in decodings:
        model = decoding.model
        wanted = model.label in CLUSTERED and model.regime == decoding.regime
        if wanted and model.label not in means and (found := silhouettes(decoding, languages)) is not None:
            means[model.label], silhouette[model.label] = target_means(decoding, languages), float(found[0])
    return means, silhouette


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
            rates["alignment" if runs[0].model.phase == "align" else runs[0].name] = {
                labels[code]: fmean(rate[code] for rate in by_code) for code in labels if code in shared
            }
        panels[_title(group, groups)] = (list(labels.values()), rates)
    return panels


def _label(code: str, groups: Groups, languages: LanguageTable) -> str:
    unit = "\nCER" if languages[code].unit == "cer" else ""
    return code + ("*" if code in groups.without_sft_data else "") + unit


def _title(group: str, groups: Groups) -> str:
    if group == "source":
        return "source domain" + (" (* no adaptation data)" if groups.without_sft_data else "")
    return f"{RESOURCES[group]} target languages"
