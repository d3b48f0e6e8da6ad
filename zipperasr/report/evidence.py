"""What the paper discusses besides error rates: forgetting, convergence, router weights; and faulty output.

In: decodings and trainings. Out: Markdown tables, empty if there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from zipperasr.languages import LanguageTable
from zipperasr.markdown import percent, table
from zipperasr.report.collect import Decoding, Training, by_system
from zipperasr.report.groups import GROUPS, SOURCE, Groups
from zipperasr.report.tables import (
    LABELS,
    group_mean,
    main_scores,
    over_seeds,
    rate_by_language,
    set_label,
    system_labels,
)
from zipperasr.report.weight_facts import specific_over_shared
from zipperasr.score.scores_table import SetScore

BASELINE = "vanilla"
FAULTS = {  # counts of SetScore, explained in zipperasr/score/diagnose.py: column title
    "empty": "empty",
    "loops": "loop",
    "retried": "loop, decoded again",
    "bursts": "burst of insertions",
    "language_errors": "other language",
    "chat_replies": "chat reply",
}


def forgetting_table(decodings: Sequence[Decoding], groups: Groups, languages: LanguageTable) -> str:
    """Increase of the error rate on the source test sets from alignment to adaptation, in percentage points.

    The first row of each encoder regime is the alignment's own error rates, in per cent.
    """
    before = {
        (decoding.regime, decoding.search): decoding
        for decoding in decodings
        if decoding.model.phase == "align" and decoding.model.regime == decoding.regime
    }
    columns = {s.set: s for decoding in before.values() for s in main_scores(decoding, languages)}
    columns = {name: score for name, score in columns.items() if groups.of(score) == SOURCE}
    ordered = sorted(columns.values(), key=lambda score: (languages.codes.index(score.language), score.set))
    rows: list[list[str]] = []
    for (regime, search), start in before.items():
        adapted = [d for d in decodings if d.model.phase == "sft" and (d.regime, d.search) == (regime, search)]
        rates, by_language = _source_rates(start, groups, languages)
        if not adapted or not rates:
            continue
        cells = [percent(rates.get(score.set)) for score in ordered]
        rows.append([f"`{start.model.system}`: error rates", regime, *cells, percent(_mean(by_language, groups))])
        for runs in by_system(adapted):
            after = [_source_rates(run, groups, languages) for run in runs]
            cells = [over_seeds([_minus(found.get(s.set), rates.get(s.set)) for found, _ in after]) for s in ordered]
            means = [_minus(_mean(found, groups), _mean(by_language, groups)) for _, found in after]
            rows.append([f"`{runs[0].model.system}`", regime, *cells, over_seeds(means)])
    header = ["system", "encoder", *(set_label(score, groups, ordered) for score in ordered)]
    return table([*header, f"mean of {len(groups.source)}"], rows, 2) if rows else ""


def _source_rates(decoding: Decoding, groups: Groups, languages: LanguageTable) -> tuple[dict, dict]:
    """Error rates on the source domain: ({test set: rate}, {language: rate})."""
    of_sets = {s.set: s.rate for s in main_scores(decoding, languages) if groups.of(s) == SOURCE}
    return of_sets, rate_by_language(decoding, SOURCE, groups, languages)


def _mean(by_language: dict[str, float], groups: Groups) -> float | None:
    return group_mean(by_language, groups.source)


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def convergence_table(trainings: Sequence[Training]) -> str:
    """Steps until the dev loss reaches vanilla's last one, for the same regime, setting, seed and dev languages."""
    lasts = {_comparable(t): t.dev[-1]["loss"] for t in trainings if t.model.label == BASELINE and t.dev}
    reached: dict[tuple[str, str], list[int | None]] = {}
    for training in trainings:
        if training.model.phase == "sft" and training.dev and _comparable(training) in lasts:
            steps = steps_to_loss(training, lasts[_comparable(training)])
            reached.setdefault((training.model.system, training.model.regime), []).append(steps)
    rows = [
        [f"`{system}`", regime, ", ".join("never" if step is None else f"{step:.0f}" for step in steps)]
        for (system, regime), steps in reached.items()
    ]
    header = ["system", "encoder", f"steps to {BASELINE}'s last dev loss, one a seed"]
    return table(header, rows, 3) if len(rows) > 1 else ""


def steps_to_loss(training: Training, wanted: float) -> float | None:
    """Steps until the dev loss is at most `wanted`, interpolated linearly; None if it never is.

    A loss reached before the first evaluation counts as reached at that evaluation.
    """
    before = None
    for row in training.dev:
        if row["loss"] <= wanted:
            if before is None:
                return row["step"]
            share = (before["loss"] - wanted) / (before["loss"] - row["loss"])
            return before["step"] + share * (row["step"] - before["step"])
        before = row
    return None


def router_table(trainings: Sequence[Training]) -> str:
    """Distance of router weights from their initial 0.5; p of a layer and language is the mean over its ranks."""
    rows = []
    for training in trainings:
        if training.router_final:
            p = torch.tensor(training.router_final["p"]).mean(-1)  # (layers, languages)
            figures = [p.mean(), (p - 0.5).abs().mean(), (p - 0.5).abs().max(), p.std(1, correction=0).mean()]
            labels = [f"`{training.model.title}`", training.model.regime]
            rows.append([*labels, *(f"{figure.item():.3f}" for figure in figures)])
    header = ["mean p", "mean distance from 0.5", "largest distance", "s.d. between languages"]
    return table(["system", "encoder", *header], rows, 2) if rows else ""


def norms_table(trainings: Sequence[Training]) -> str:
    """Routed variants: norm of the language-specific part of B divided by that of the shared part, by language."""
    rows, codes = [], []
    for training in trainings:
        shares = specific_over_shared(training)
        if shares:
            codes = list(shares)
            cells = [percent(ratio) for ratio in shares.values()]
            rows.append([f"`{training.model.title}`", training.model.regime, *cells])
    return table(["system", "encoder", *codes], rows, 2) if rows else ""


def faults_table(decodings: Sequence[Decoding], groups: Groups, languages: LanguageTable) -> str:
    """Share of utterances with faulty output, by system and group of languages, in per cent."""
    rows = []
    for runs in by_system(decodings):
        for group in GROUPS:
            of_group = [[s for s in main_scores(run, languages) if groups.of(s) == group] for run in runs]
            if all(of_group):
                utts = sum(score.utts for score in of_group[0])
                shares = [over_seeds([_share(scores, count) for scores in of_group]) for count in FAULTS]
                rows.append([*system_labels(runs), group, str(utts), *shares])
    header = [*LABELS, "languages", "utts", *(f"{title}, %" for title in FAULTS.values())]
    return table(header, rows, len(LABELS) + 1) if rows else ""


def _share(scores: Sequence[SetScore], count: str) -> float:
    return 100 * sum(getattr(score, count) for score in scores) / sum(score.utts for score in scores)


def _comparable(training: Training) -> tuple[str, str, int | None, frozenset[str]]:
    """Key of trainings whose dev losses are comparable."""
    return training.model.regime, training.model.setting, training.model.seed, frozenset(training.dev[-1])
