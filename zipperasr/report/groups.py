"""Which test sets are source, larger target and small target.

In: conf/datasets.tsv (hours, phases) and dump/raw/sets.tsv (what each data dir is). Out: `Groups`. A language is small
if it has at most SMALL_SHARE of the largest one's hours in the 1 h setting, which fits the paper and a scaled table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zipperasr.report.collect import read_tsv
from zipperasr.score.scores_table import SetScore
from zipperasr.score.transcripts import read_sets

GROUPS = ("source", "larger", "small")
SMALL_SHARE = 0.15  # the paper: 1 h of 1000 h; its next smallest has 500 h


@dataclass(frozen=True)
class Groups:
    """Codes in the language table's order; `phases` by test set name."""

    source: list[str]
    larger: list[str]
    small: list[str]
    phases: dict[str, str]  # align | sft

    @property
    def without_sft_data(self) -> list[str]:
        """Source languages that stage 2 never trains."""
        return [code for code in self.source if code not in [*self.larger, *self.small]]

    def codes(self, group: str) -> list[str]:
        return {"source": self.source, "larger": self.larger, "small": self.small}[group]

    def of(self, score: SetScore) -> str:
        """source | larger | small"""
        if self.phases.get(score.set) == "align":
            return "source"
        return "small" if score.language in self.small else "larger"


def load_groups(datasets: Path, raw: Path, order: list[str]) -> Groups:
    """Read both tables. Raises ValueError if a column is missing or hours are no number."""
    hours: dict[str, dict[str, float]] = {"align": {}, "sft": {}}
    header, rows = read_tsv(datasets)
    needed = ("phase", "language", "setting", "train_hours")
    missing = [column for column in needed if column not in header]
    if missing:
        raise ValueError(f"{datasets}: no column {missing}; got {header}")
    for cells in rows:
        row = dict(zip(header, cells, strict=True))
        if row["phase"] not in hours:
            raise ValueError(f"{datasets}: unknown phase {row['phase']!r}; align or sft")
        if row["setting"] != "30h":
            of_phase = hours[row["phase"]]
            of_phase[row["language"]] = of_phase.get(row["language"], 0.0) + _hours(row["train_hours"], datasets)
    trained = {code: value for code, value in hours["sft"].items() if value > 0}
    limit = SMALL_SHARE * max(trained.values(), default=0.0)
    return Groups(
        source=[code for code in order if code in hours["align"]],
        larger=[code for code in order if trained.get(code, 0.0) > limit],
        small=[code for code in order if 0 < trained.get(code, 0.0) <= limit],
        phases={row["set"]: row["phase"] for row in read_sets(raw) if row["kind"] == "test"},
    )


def _hours(text: str, path: Path) -> float:
    if text == "-":
        return 0.0
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{path}: got train_hours {text!r}, wanted a number or '-'") from error
