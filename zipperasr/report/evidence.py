"""What the paper discusses besides error rates: forgetting, convergence, router weights; and faulty output.

In: decodings and trainings. Out: Markdown tables, empty if there is nothing to compare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from zipperasr.config import from_tree
from zipperasr.languages import LanguageTable
from zipperasr.lora.router import router_options
from zipperasr.markdown import percent, table
from zipperasr.model.model_config import EncoderLoraConfig
from zipperasr.model.weights_file import open_weights
from zipperasr.report.collect import Decoding, Training, by_system
from zipperasr.report.groups import GROUPS, SOURCE, Groups
from zipperasr.report.read_files import read_config
from zipperasr.report.tables import LABELS, main_scores, over_seeds, system_labels
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
    """Increase of the error rate on each source test set from alignment to adaptation, in percentage points."""
    before = {
        decoding.regime: {s.set: s.rate for s in main_scores(decoding, languages) if groups.of(s) == SOURCE}
        for decoding in decodings
        if decoding.model.phase == "align" and decoding.model.regime == decoding.regime
    }
    sets = sorted({name for rates in before.values() for name in rates})
    rows = []
    for runs in by_system([d for d in decodings if d.model.phase == "sft" and before.get(d.regime)]):
        start = before[runs[0].regime]
        after = [{score.set: score.rate for score in main_scores(run, languages)} for run in runs]
        cells = [
            over_seeds([rates[name] - start[name] if name in rates and name in start else None for rates in after])
            for name in sets
        ]
        rows.append([f"`{runs[0].model.system}`", runs[0].regime, *cells])
    return table(["system", "encoder", *(name.removeprefix("test_") for name in sets)], rows, 2) if rows else ""


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


def specific_over_shared(training: Training) -> dict[str, float]:
    """{language: ||B_spec diag(p)|| / ||B_shared diag(1 - p)||}, Frobenius norms over all layers.

    Empty for a system to which languages were added: the other banks belong to the system it started from.
    """
    final, weights = training.router_final, training.model.directory / "model.safetensors"
    if not final or not weights.is_file():
        return {}
    share = torch.tensor(final["p"])  # (layers, languages, rank)
    config = read_config(training.model.directory)
    if config.get("added"):
        return {}
    model = config.get("model")
    lora = model.get("encoder_lora", {}) if isinstance(model, dict) else {}
    lora = from_tree(EncoderLoraConfig, lora, f"{training.model.directory / 'config.yaml'}: encoder_lora")
    share = router_options(lora.of(config.get("lora"))).specific_share(share)
    own, common = ({code: 0.0 for code in final["languages"]} for _ in range(2))  # squared norms
    with open_weights(weights) as stream:
        for number, layer in enumerate(final["layers"]):
            name = next((name for name in stream.keys() if name.endswith(f".{layer}.b_shared")), layer)  # noqa: SIM118
            shared, specific = stream.get_tensor(name), stream.get_tensor(name.replace(".b_shared", ".b_specific"))
            for place, code in enumerate(final["languages"]):
                p = share[number, place]
                own[code] += (specific[place] * p).square().sum().item()
                common[code] += (shared * (1 - p)).square().sum().item()
    return {code: math.sqrt(own[code] / common[code]) if common[code] else math.inf for code in own}


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
