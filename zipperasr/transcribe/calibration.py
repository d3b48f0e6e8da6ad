"""Calibrated confidences: a map of probabilities of words, fitted on dev sets and stored with the model.

In: confidence.json in a training directory. Out: `Calibration`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from zipperasr.atomic import atomic_path

FILE = "confidence.json"
BINS = 10  # of the calibration error
_EDGE = 1e-6  # probabilities are at least this far from 0 and 1


@dataclass(frozen=True)
class Calibration:
    """p -> sigmoid(scale * logit(p) + offset), Platt's scaling; the default changes nothing."""

    scale: float = 1.0
    offset: float = 0.0

    @classmethod
    def load(cls, directory: Path) -> Calibration:
        """Read confidence.json; without it, confidences remain as they are. Raises ValueError if it is damaged."""
        path = directory / FILE
        if not path.is_file():
            return UNCHANGED
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(float(found["scale"]), float(found["offset"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: got {error}, wanted scale and offset; rerun `zipperasr calibrate`") from error

    @classmethod
    def fit(cls, confidences: Sequence[float], correct: Sequence[bool]) -> Calibration:
        """Fit by maximum likelihood. Raises ValueError unless there are right and wrong words."""
        from sklearn.linear_model import LogisticRegression

        if len(set(correct)) < 2:
            raise ValueError("a calibration needs right and wrong words; use larger dev sets")
        model = LogisticRegression(C=1e6).fit([[_logit(confidence)] for confidence in confidences], correct)
        return cls(float(model.coef_[0, 0]), float(model.intercept_[0]))

    def save(self, directory: Path, **about: object) -> None:
        """Write confidence.json. about: what it was fitted on."""
        with atomic_path(directory / FILE) as temporary:
            temporary.write_text(json.dumps({**asdict(self), **about}, indent=1) + "\n", encoding="utf-8")

    def __call__(self, confidence: float) -> float:
        if self == UNCHANGED:
            return confidence
        return 1 / (1 + math.exp(-self.scale * _logit(confidence) - self.offset))


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
