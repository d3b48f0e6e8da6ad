"""What a model was trained on: hours by language and corpus, for its model card.

In: training directories, and the recipe around them: the sets of stage 1 that a training's fingerprint names. Out:
`TrainingData`, which names the trainings whose data directories are not there.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zipperasr.atomic import FINGERPRINT, read_record
from zipperasr.datadir.set_table import read_sets
from zipperasr.model.experiment import Experiment
from zipperasr.run_record import TrainingRun, load_run

TRAINING = {"align": "alignment", "sft": "adaptation"}  # by phase
MAIN_SETTING = "1h"
LAYOUTS = frozenset({"mls", "commonvoice", "librispeech", "msr86k", "wenetspeech"})  # stage 0 can make these corpora


@dataclass
class DataRow:
    """The training data of one language from one corpus."""

    language: str
    corpus: str
    hours: float
    synthetic: bool  # made by stage 0
    used_in: list[str]  # alignment, adaptation


@dataclass(frozen=True)
class TrainingData:
    """The data of a model.

    Attributes:
        rows: in the order of the model's languages.
        made: corpora that stage 0 makes in the model's recipe, for training and test sets.
        not_recorded: trainings without rows, as the model card calls them.
    """

    rows: tuple[DataRow, ...] = ()
    made: frozenset[str] = frozenset()
    not_recorded: tuple[str, ...] = ()

    @property
    def synthetic(self) -> bool:
        """True if any of the listed data is synthetic."""
        return any(row.synthetic for row in self.rows)


def training_data(chain: Sequence[tuple[Path, Experiment]]) -> TrainingData:
    """The data of a training and of those that it started from. Raises ValueError for malformed tables."""
    found: dict[str, DataRow] = {}
    not_recorded = []
    for directory, experiment in reversed(chain):
        sets = _sets(directory)
        if not sets:
            not_recorded.append("this training" if directory == chain[0][0] else "the training it started from")
        for name, row in sets.items():
            kept = found.setdefault(name, row)
            if (training := TRAINING[experiment.phase]) not in kept.used_in:
                kept.used_in.append(training)
    order = {code: number for number, code in enumerate(chain[0][1].languages)}
    rows = (row for row in found.values() if row.language in order)
    ordered = sorted(rows, key=lambda row: (order[row.language], row.corpus))
    return TrainingData(tuple(ordered), _made(chain[0][0]), tuple(dict.fromkeys(not_recorded)))


def _made(directory: Path) -> frozenset[str]:
    """Corpora that stage 0 makes in the recipe of a training; none at full scale. Others are the user's."""
    place = _recipe(directory)
    if place is None:
        return frozenset()
    recipe, suffix = place
    return LAYOUTS if (recipe / "conf" / (suffix or "_mini")[1:] / "mini_corpora.yaml").is_file() else frozenset()


def _recipe(directory: Path) -> tuple[Path, str] | None:
    """The recipe and the suffix of its scale: exp is mini scale, exp_full full scale; None for other directories."""
    exp = directory.resolve().parent
    return (exp.parent, exp.name.removeprefix("exp")) if exp.name.startswith("exp") else None


def _sets(directory: Path) -> dict[str, DataRow]:
    """The training sets in the fingerprint of a training; none if one of the files is missing."""
    place = _recipe(directory)
    if place is None:
        return {}
    recipe, suffix = place
    run = load_run(TrainingRun, directory)
    setting = "" if run is None or run.setting == MAIN_SETTING else f"_{run.setting}"
    data = recipe / f"data{suffix}{setting}"
    inputs, report = directory / FINGERPRINT, data / "report.tsv"
    if not (inputs.is_file() and report.is_file() and (data / "sets.tsv").is_file()):
        return {}
    names = read_record(inputs)
    if names is None:
        raise ValueError(f"{inputs}: not a JSON object; restore the file, or remove it to export without these data")
    hours, made = _hours(report), _made(directory)
    return {
        row.set: DataRow(row.language, row.corpus, hours[row.set], row.corpus in made, [])
        for row in read_sets(data / "sets.tsv")
        if row.kind == "train" and row.set in names and row.set in hours
    }


def _hours(report: Path) -> dict[str, float]:
    """Hours by set. Raises ValueError for a malformed table."""
    try:
        with report.open(encoding="utf-8", newline="") as stream:
            return {row["set"]: float(row["hours"]) for row in csv.DictReader(stream, delimiter="\t")}
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{report}: wanted columns set and hours, got {error!r}; rerun stage 1") from error
