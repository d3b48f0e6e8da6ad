"""Group test sets: source domain, high-resource and low-resource target languages.

In: conf/datasets.tsv. Out: `Groups`. A language is low-resource by the hours of the paper's Table I in the 1 h setting,
also in the 30 h setting and at mini scale, where the table gives roles instead of amounts. A language that was added to
a trained system has a group of its own: with it, the other systems would have no mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from zipperasr.languages import LanguageTable
from zipperasr.prepare.dataset_table import NO_TRAIN, load_datasets
from zipperasr.score.scores_table import SetScore

SOURCE, HIGH, LOW = "source", "high-resource", "low-resource"
GROUPS = (SOURCE, HIGH, LOW)
TARGETS = (HIGH, LOW)
ADDED = "added"
LOW_RESOURCE_HOURS = 1.0  # at most


@dataclass(frozen=True)
class Groups:
    """Language codes in the language table's order."""

    source: list[str]
    high: list[str]
    low: list[str]
    added: list[str] = field(default_factory=list)  # to trained systems

    @property
    def without_sft_data(self) -> list[str]:
        """Source languages that have no adaptation data."""
        return [code for code in self.source if code not in [*self.high, *self.low]]

    def codes(self, group: str) -> list[str]:
        return {SOURCE: self.source, HIGH: self.high, LOW: self.low, ADDED: self.added}[group]

    def of(self, score: SetScore) -> str:
        """The group of a test set: en, fr and th are source or high-resource languages, depending on the set."""
        if score.phase == "align":
            return SOURCE
        if score.language in self.added:
            return ADDED
        return LOW if score.language in self.low else HIGH


def load_groups(datasets: Path, languages: LanguageTable, added: Sequence[str] = ()) -> Groups:
    """Read the data set table. added: languages that were added to trained systems."""
    rows = load_datasets(datasets, "1h", languages)
    source = {row.language for row in rows if row.phase == "align"}
    hours: dict[str, float] = {}
    for row in rows:
        if row.train_split == NO_TRAIN:  # what a fine-tuned model may forget
            hours.setdefault(row.language, inf)
        elif row.is_in("sft") and row.train_hours:
            hours[row.language] = hours.get(row.language, 0.0) + row.train_hours
    targets = [code for code in languages.codes if hours.get(code, 0.0) > 0 and code not in added]
    return Groups(
        source=[code for code in languages.codes if code in source],
        high=[code for code in targets if hours[code] > LOW_RESOURCE_HOURS],
        low=[code for code in targets if hours[code] <= LOW_RESOURCE_HOURS],
        added=[code for code in languages.codes if code in added],
    )
