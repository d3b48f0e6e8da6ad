"""Look up scored systems by label, encoder regime, data setting and seed.

In: a `Run`. Out: resampled mean error rates over groups of languages, and trainings.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from zipperasr.report.claims.resampling import replicated_rates
from zipperasr.report.collect import ALIGNMENT, Decoding, Model, Run, Training
from zipperasr.report.groups import GROUPS, SOURCE, TARGETS
from zipperasr.report.tables import main_scores
from zipperasr.score.scores_table import SetScore

TARGET = "target"  # both groups of target languages


class Cell(NamedTuple):
    """A system in one regime and setting; each of its seeds is a run."""

    label: str
    regime: str
    setting: str = "1h"


class Scored:
    """Untagged greedy decodings in the regime of training, and trainings."""

    def __init__(self, run: Run):
        self.groups, self.languages = run.groups, run.languages
        self._decodings: dict[Cell, dict[int | None, Decoding]] = {}
        self._trainings: dict[Cell, dict[int | None, Training]] = {}
        for decoding in run.decodings:
            if decoding.regime == decoding.model.regime and decoding.search == "greedy":
                self._decodings.setdefault(_cell(decoding.model), {})[decoding.model.seed] = decoding
        for training in run.trainings:
            self._trainings.setdefault(_cell(training.model), {})[training.model.seed] = training
        self._rates: dict[tuple, np.ndarray] = {}

    def can_compare(self) -> bool:
        """True if there are two adapted systems of the same regime and setting."""
        cells = Counter((cell.regime, cell.setting) for cell in self._decodings if cell.label != ALIGNMENT)
        return max(cells.values(), default=0) > 1

    def seeds(self, *cells: Cell) -> list[int | None]:
        """Seeds with which all cells were decoded; the alignment, trained once, is paired with any seed."""
        found = [set(self._decodings.get(cell, {})) for cell in cells if cell.label != ALIGNMENT]
        if any(cell.label == ALIGNMENT and cell not in self._decodings for cell in cells):
            return []
        if not found:
            return [None]
        return sorted(set.intersection(*found), key=lambda seed: seed or 0)

    def decoding(self, cell: Cell, seed: int | None) -> Decoding:
        runs = self._decodings[cell]
        return next(iter(runs.values())) if cell.label == ALIGNMENT else runs[seed]

    def trainings(self, cell: Cell) -> dict[int | None, Training]:
        """By seed."""
        return self._trainings.get(cell, {})

    def mean(self, cell: Cell, seed: int | None, scope: str) -> np.ndarray | None:
        """Mean error rate over the languages of `scope`, measured and resampled; None unless all are scored.

        scope: a group, TARGET, or a corpus of the source domain.
        """
        by_language: dict[str, list[np.ndarray]] = {}
        decoding = self.decoding(cell, seed)
        for score in main_scores(decoding, self.languages):
            if self._within(score, scope):
                by_language.setdefault(score.language, []).append(self._rate(decoding, score))
        if not by_language or not set(self._wanted(scope)) <= by_language.keys():
            return None
        return np.mean([np.mean(rates, axis=0) for rates in by_language.values()], axis=0)

    def _within(self, score: SetScore, scope: str) -> bool:
        group = self.groups.of(score)
        if scope == TARGET:
            return group in TARGETS
        return group == scope or (group == SOURCE and score.corpus == scope)

    def _wanted(self, scope: str) -> list[str]:
        if scope == TARGET:
            return [*self.groups.high, *self.groups.low]
        return self.groups.codes(scope) if scope in GROUPS else []

    def _rate(self, decoding: Decoding, score: SetScore) -> np.ndarray:
        key = (decoding.directory, score.set)
        if key not in self._rates:
            way = score.unit + (f"_{score.normaliser}" if score.normaliser == "whisper_marks" else "")
            self._rates[key] = replicated_rates(decoding.directory / score.set / f"score_{way}" / "audit.jsonl")
        return self._rates[key]


def _cell(model: Model) -> Cell:
    return Cell(ALIGNMENT if model.phase == "align" else model.label, model.regime, model.setting)
