"""Which test sets are source, larger target and small target.

In: conf/datasets.tsv. Out: `Groups`. A language is small by Table I's hours in the 1 h setting, also in the 30 h
setting and at mini scale, where the table names the roles and not the amounts. One that came to a trained system is in
neither group, or no other system would have a mean any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zipperasr.languages import LanguageTable
from zipperasr.prepare.dataset_table import load_datasets
from zipperasr.score.scores_table import SetScore

GROUPS = ("source", "larger", "small")
ADDED = "added"
SMALL_HOURS = 1.0  # at most


@dataclass(frozen=True)
class Groups:
    """Codes in the language table's order."""

    source: list[str]
    larger: list[str]
    small: list[str]
    added: list[str] = field(default_factory=list)  # came to trained systems

    @property
    def without_sft_data(self) -> list[str]:
        """Source languages that stage 2 never trains."""
        return [code for code in self.source if code not in [*self.larger, *self.small]]

    def codes(self, group: str) -> list[str]:
        return {"source": self.source, "larger": self.larger, "small": self.small, ADDED: self.added}[group]

    def of(self, score: SetScore) -> str:
        """source | larger | small | added: en, fr and th are both source and larger, by test set."""
        if score.phase == "align":
            return "source"
        if score.language in self.added:
            return ADDED
        return "small" if score.language in self.small else "larger"


def load_groups(datasets: Path, languages: LanguageTable, added: Sequence[str] = ()) -> Groups:
    """Read the data set table. added: languages that came to trained systems."""
    rows = load_datasets(datasets, "1h", languages)
    source = {row.language for row in rows if row.phase == "align"}
    hours: dict[str, float] = {}
    for row in rows:
        if row.phase == "sft" and row.train_hours:
            hours[row.language] = hours.get(row.language, 0.0) + row.train_hours
    targets = [code for code in languages.codes if hours.get(code, 0.0) > 0 and code not in added]
    return Groups(
        source=[code for code in languages.codes if code in source],
        larger=[code for code in targets if hours[code] > SMALL_HOURS],
        small=[code for code in targets if hours[code] <= SMALL_HOURS],
        added=[code for code in languages.codes if code in added],
    )
