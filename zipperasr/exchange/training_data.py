"""What a model was trained on: hours by language and corpus, for its model card.

In: training directories, and the recipe around them: the sets of stage 1 that a training's fingerprint names. Out:
`TrainingData`, empty if the recipe's data directories are not there.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zipperasr.atomic import FINGERPRINT
from zipperasr.corpora import CORPORA
from zipperasr.datadir.set_table import read_sets
from zipperasr.model.experiment import Experiment
from zipperasr.run_record import TrainingRun, load_run

TRAINING = {"align": "alignment", "sft": "adaptation"}  # by phase
MAIN_SETTING = "1h"


@dataclass
class DataRow:
    """The training data of one language from one corpus."""

    language: str
    corpus: str
    hours: float
    used_in: list[str]  # alignment, adaptation


@dataclass(frozen=True)
class TrainingData:
    """rows: in the order of the model's languages. synthetic: stage 0 made the corpora."""

    rows: tuple[DataRow, ...] = ()
    synthetic: bool = False


def training_data(chain: Sequence[tuple[Path, Experiment]]) -> TrainingData:
    """The data of a training and of those that it started from. Raises ValueError for malformed tables."""
    found: dict[str, DataRow] = {}
    synthetic = False
    for directory, experiment in reversed(chain):
        place = _recipe(directory)
        if place is None:
            continue
        recipe, suffix = place
        sets = _sets(directory, recipe, suffix)
        made = (recipe / "conf" / (suffix or "_mini")[1:] / "mini_corpora.yaml").is_file()
        synthetic |= made and all(row.corpus in CORPORA for row in sets.values())  # others are the user's
        for name, row in sets.items():
            kept = found.setdefault(name, row)
            if (training := TRAINING[experiment.phase]) not in kept.used_in:
                kept.used_in.append(training)
    order = {code: number for number, code in enumerate(chain[0][1].languages)}
    rows = (row for row in found.values() if row.language in order)
    return TrainingData(tuple(sorted(rows, key=lambda row: (order[row.language], row.corpus))), synthetic)


def _recipe(directory: Path) -> tuple[Path, str] | None:
    """The recipe and the suffix of its scale: exp is mini scale, exp_full full scale; None for other directories."""
    exp = directory.resolve().parent
    return (exp.parent, exp.name.removeprefix("exp")) if exp.name.startswith("exp") else None


def _sets(directory: Path, recipe: Path, suffix: str) -> dict[str, DataRow]:
    """The training sets in the fingerprint of a training; none if one of the files is missing."""
    run = load_run(TrainingRun, directory)
    setting = "" if run is None or run.setting == MAIN_SETTING else f"_{run.setting}"
    data = recipe / f"data{suffix}{setting}"
    inputs, report = directory / FINGERPRINT, data / "report.tsv"
    if not (inputs.is_file() and report.is_file() and (data / "sets.tsv").is_file()):
        return {}
    names = json.loads(inputs.read_text(encoding="utf-8"))
    with report.open(encoding="utf-8", newline="") as stream:
        hours = {row["set"]: float(row["hours"]) for row in csv.DictReader(stream, delimiter="\t")}
    return {
        row.set: DataRow(row.language, row.corpus, hours[row.set], [])
        for row in read_sets(data / "sets.tsv")
        if row.kind == "train" and row.set in names and row.set in hours
    }
