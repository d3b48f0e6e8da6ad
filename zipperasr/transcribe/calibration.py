"""Calibrated confidences: a map of probabilities of words, fitted on dev sets and stored with the model.

In: confidence.json in a training directory. Out: `Calibration`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from zipperasr.atomic import atomic_path, read_record
from zipperasr.cli import log
from zipperasr.config import from_tree
from zipperasr.ranges import Range, check_ranges

FILE = "confidence.json"
MAX_BYTES = 10_000
AGAIN = "run `zipperasr calibrate` again"
BINS = 10  # of the calibration error
_EDGE = 1e-6  # probabilities are at least this far from 0 and 1


@dataclass(frozen=True)
class Calibration:
    """p -> sigmoid(scale * logit(p) + offset), Platt's scaling; the default changes nothing."""

    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        check_ranges(self, {"scale": Range(0, 100), "offset": Range(-100, 100)})

    @classmethod
    def load(cls, directory: Path) -> Calibration:
        """Read confidence.json; without it, or after the model was retrained, confidences remain as they are.

        Raises ValueError if it is damaged.
        """
        from zipperasr.model.experiment import weights_digest

        path = directory / FILE
        if not path.is_file():
            return UNCHANGED
        record = read_record(path) if path.stat().st_size <= MAX_BYTES else None
        if record is None or not {"scale", "offset"} <= record.keys():
            wanted = f"wanted a JSON object with scale and offset, at most {MAX_BYTES:,} bytes"
            raise ValueError(f"{path}: {wanted}; delete it and {AGAIN}")
        try:
            found = from_tree(cls, {key: record[key] for key in ("scale", "offset")}, str(path))
        except ValueError as error:
            raise ValueError(f"{error}; delete it and {AGAIN}") from error
        if record.get("model") != weights_digest(directory):
            log(f"{path}: not used, because it was fitted with other weights of the model; {AGAIN}")
            return UNCHANGED
        return found

    @classmethod
    def fit(cls, confidences: Sequence[float], correct: Sequence[bool]) -> Calibration:
        """Fit by maximum likelihood. Raises ValueError if there are no wrong words, or they have higher confidences."""
        from sklearn.linear_model import LogisticRegression

        if len(set(correct)) < 2:
            raise ValueError("a calibration needs right and wrong words; use larger dev sets")
        model = LogisticRegression(C=1e6).fit([[_logit(confidence)] for confidence in confidences], correct)
        try:
            return cls(float(model.coef_[0, 0]), float(model.intercept_[0]))
        except ValueError as error:
            raise ValueError(f"{error}; use larger dev sets") from error

    def save(self, directory: Path, **about: object) -> None:
        """Write confidence.json to a training directory. about: what it was fitted on."""
        from zipperasr.model.experiment import weights_digest

        record = {**asdict(self), "model": weights_digest(directory), **about}
        with atomic_path(directory / FILE) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def __call__(self, confidence: float) -> float:
        if self == UNCHANGED:
            return confidence
        return (1 + math.tanh((self.scale * _logit(confidence) + self.offset) / 2)) / 2  # a sigmoid without overflow


UNCHANGED = Calibration()


def calibration_error(confidences: Sequence[float], correct: Sequence[bool]) -> float:
    """Expected calibration error: the mean difference of confidence and accuracy over bins of equal width."""
    sums = [[0.0, 0] for _ in range(BINS)]
    for confidence, is_correct in zip(confidences, correct, strict=True):
        one = sums[min(int(confidence * BINS), BINS - 1)]
        one[0] += confidence - is_correct
        one[1] += 1
    return sum(abs(difference) for difference, _ in sums) / max(1, len(confidences))


def _logit(probability: float) -> float:
    inside = min(max(probability, _EDGE), 1 - _EDGE)
    return math.log(inside / (1 - inside))
