"""The recipe's data sets (Table I of the paper) and the locations of the corpora.

In: conf/datasets.tsv and conf/SCALE/corpora.yaml. Out: `DatasetRow`s of one setting, and `CorporaConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path

from zipperasr.config import load_yaml
from zipperasr.corpora import find_corpus
from zipperasr.datadir.set_table import BOTH
from zipperasr.languages import LanguageTable
from zipperasr.text_lines import numbered_lines

COLUMNS = (
    "phase", "corpus", "language", "setting", "train_split", "train_hours",
    "dev_split", "test_splits", "test_hours", "train_list", "test_list",
)  # fmt: skip
PHASES = ("align", "sft")
SETTINGS = ("1h", "30h")
NO_TRAIN = "-"  # a train_split: test sets only
NO_DEV = "-"  # a dev_split: no dev set
HELD_OUT = "held-out"  # a dev_split: some speakers of train, because the official dev set is the test set


@dataclass(frozen=True)
class CorporaConfig:
    """The locations of the corpora at one scale."""

    roots: dict[str, str]  # corpus -> directory
    utt_ids: str  # directory of the authors' train/ and test/ lists
    table_hours: bool = True  # sample Table I's hours if there is no list; false: take everything

    def root_of(self, corpus: str, path: str | Path) -> Path:
        """Return the corpus's directory. Raises ValueError if the configuration has none."""
        if corpus not in self.roots:
            raise ValueError(f"{path}: no root for corpus {corpus!r}; add `{corpus}: DIRECTORY` under roots")
        return Path(self.roots[corpus])


@dataclass(frozen=True)
class DatasetRow:
    """One line of the table: a corpus in one language, and the sets to make from it."""

    phase: str  # align | sft | both
    corpus: str
    reader: str  # a key of CORPORA, the corpus's own by default, or a Python file
    language: str
    train_split: str  # official splits joined by +, or NO_TRAIN
    train_hours: float | None
    dev_split: str  # official, HELD_OUT or NO_DEV
    test_splits: tuple[str, ...]
    test_hours: tuple[float, ...]
    train_list: str | None  # below the utt_ids directory
    test_list: str | None

    def is_in(self, phase: str) -> bool:
        """True if `phase`, align or sft, uses the sets."""
        return self.phase in (phase, BOTH)

    def set_names(self) -> tuple[str, str, dict[str, str]]:
        """Return (train set, dev set, {test set: official split})."""
        base = f"{self.corpus}_{self.language}"
        tests = {}
        for split in self.test_splits:
            subset = split.lower().removeprefix("test").strip("-_")
            tests[f"test_{base}_{subset}" if len(self.test_splits) > 1 else f"test_{base}"] = split
        return f"train_{base}", f"dev_{base}", tests


def load_corpora(path: str | Path) -> CorporaConfig:
    """Read corpora.yaml. Raises ValueError if it has no roots."""
    config = load_yaml(CorporaConfig, path)
    if not isinstance(config.roots, dict) or not config.roots:
        raise ValueError(f"{path}: roots: got {config.roots!r}, wanted one `corpus: directory` per line")
    return config


def load_datasets(path: str | Path, setting: str, languages: LanguageTable) -> list[DatasetRow]:
    """Read the rows of one setting (1h | 30h). Raises ValueError with file and line."""
    path = Path(path)
    rows = []
    header_seen = False
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        if line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if not header_seen:
            if tuple(cells) != COLUMNS:
                raise ValueError(f"{where}: got columns {cells}, wanted {list(COLUMNS)}, tab separated")
            header_seen = True
            continue
        if len(cells) != len(COLUMNS) or not all(cells):
            raise ValueError(f"{where}: got {len(cells)} cells, wanted {len(COLUMNS)}, none empty (- for none)")
        row = dict(zip(COLUMNS, cells, strict=True))
        row["corpus"], _, reader = row["corpus"].partition(":")
        row["reader"] = reader or row["corpus"]
        _check(row, languages, where)
        if row["setting"] in (setting, "both"):
            rows.append(_row(row, setting, where))
    if not rows:
        raise ValueError(f"{path}: no row for setting {setting!r}; choose from {', '.join(SETTINGS)}")
    return rows


def _check(row: dict[str, str], languages: LanguageTable, where: str) -> None:
    allowed = {"phase": (*PHASES, BOTH), "setting": (*SETTINGS, "both")}
    for column, values in allowed.items():
        if row[column] not in values:
            raise ValueError(f"{where}: {column}: got {row[column]!r}, wanted {' or '.join(values)}")
    try:
        find_corpus(row["reader"])
        languages[row["language"]]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _row(row: dict[str, str], setting: str, where: str) -> DatasetRow:
    test_splits = tuple(row["test_splits"].split(","))
    test_hours = tuple(_hours(cell, where) for cell in row["test_hours"].split(","))
    if len(test_hours) != len(test_splits):
        raise ValueError(f"{where}: got {len(test_hours)} test_hours for {len(test_splits)} test_splits")
    lists = [
        None if row[name] == "-" else row[name].replace("{setting}", setting) for name in ("train_list", "test_list")
    ]
    return DatasetRow(
        row["phase"], row["corpus"], row["reader"], row["language"], row["train_split"],
        None if row["train_hours"] == "-" else _hours(row["train_hours"], where),
        row["dev_split"], test_splits, test_hours, *lists,
    )  # fmt: skip


def _hours(cell: str, where: str) -> float:
    try:
        hours = float(cell)
    except ValueError:
        hours = -1.0
    if not 0 <= hours < inf:
        raise ValueError(f"{where}: got {cell!r}, wanted hours")
    return hours
