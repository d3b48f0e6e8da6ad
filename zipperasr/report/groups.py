"""Which test sets are source, larger target and small target.

In: conf/datasets.tsv. Out: `Groups`. A language is small by Table I's hours in the 1 h setting, also in the 30 h
setting and at mini scale, where the table names the roles and not the amounts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zipperasr.data.datasets import load_datasets
from zipperasr.languages import LanguageTable
from zipperasr.score.scores_table import SetScore

GROUPS = ("source", "larger", "small")
SMALL_HOURS = 1.0  # at most


@dataclass(frozen=True)
class Groups:
    """Codes in the language table's order."""

    source: list[str]
    larger: list[str]
    small: list[str]

    @property
    def without_sft_data(self) -> list[str]:
        """Source languages that stage 2 never trains."""
        return [code for code in self.source if code not in [*self.larger, *self.small]]

    def codes(self, group: str) -> list[str]:
        return {"source": self.source, "larger": self.larger, "small": self.small}[group]

    def of(self, score: SetScore) -> str:
        """source | larger | small: en, fr and th are both source and larger, by test set."""
        if score.phase == "align":
            return "source"
        return "small" if score.language in self.small else "larger"


def load_groups(datasets: Path, languages: LanguageTable) -> Groups:
    """Read the data set table."""
    rows = load_datasets(datasets, "1h", languages)
    source = {row.language for row in rows if row.phase == "align"}
    hours: dict[str, float] = {}
    for row in rows:
        if row.phase == "sft" and row.train_hours:
            hours[row.language] = hours.get(row.language, 0.0) + row.train_hours
    return Groups(
        source=[code for code in languages.codes if code in source],
        larger=[code for code in languages.codes if hours.get(code, 0.0) > SMALL_HOURS],
        small=[code for code in languages.codes if 0.0 < hours.get(code, 0.0) <= SMALL_HOURS],
    )
