"""Compare decodings on the test sets that all of them have scores for.

In: decoding directories after stage 8. Out: one `Comparison` per pair of decodings, test set and way of scoring. The
audits of one test set at a time are in memory. All systems are resampled alike; p-values are adjusted by Holm's method
over the test sets.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zipperasr.cli import log
from zipperasr.stats.bootstrap import Resampled, resample
from zipperasr.stats.paired_tests import FIRST, SAME, SECOND, TESTS, PairedTest
from zipperasr.stats.utterance_errors import check_same_references, read_audit

LEVEL = 0.05
DECISIVE = "mapsswe"  # the test that gives the verdict


class Value(NamedTuple):
    """A rate or difference in per cent, with its 95 % interval."""

    value: float
    low: float
    high: float


class Way(NamedTuple):
    """A test set and the directory of one of its scores, below a decoding."""

    test_set: str
    directory: str  # score_wer, score_cer_whisper_marks, ...

    @property
    def family(self) -> str:
        """Scores with marks are a second scoring of the same hypotheses: a separate family for Holm's method."""
        return "marks" if self.directory.endswith("_marks") else "main"


class Scoring(NamedTuple):
    """How a test set was scored, from its score.json."""

    language: str
    unit: str
    normaliser: str


@dataclass(frozen=True)
class Comparison:
    """Two decodings on one test set; all four tests compare `first` with `second`."""

    first: int  # index among the decodings
    second: int
    way: Way
    scoring: Scoring
    utts: int
    resampled_by: str  # utterance | speaker
    num_resampled: int
    rates: tuple[Value, Value]
    difference: Value  # of `second` minus `first`
    tests: dict[str, PairedTest]
    p_holm: dict[str, float]  # by test; adjusted over the test sets of the same pair and family

    @property
    def verdict(self) -> int:
        """FIRST | SAME | SECOND, by the matched-pairs test after Holm's correction."""
        if self.p_holm[DECISIVE] >= LEVEL:
            return SAME
        return SECOND if self.tests[DECISIVE].statistic > 0 else FIRST


def compare(decode_dirs: Sequence[Path]) -> list[Comparison]:
    """Compare every pair on every common test set. Raises ValueError or FileNotFoundError."""
    found = [comparison for way in common_ways(decode_dirs) for comparison in _compare_on(decode_dirs, way)]
    found.sort(key=lambda comparison: (comparison.first, comparison.second))
    families: dict[tuple[int, int, str], list[Comparison]] = {}
    for comparison in found:
        families.setdefault((comparison.first, comparison.second, comparison.way.family), []).append(comparison)
    return [adjusted for family in families.values() for adjusted in _adjusted(family)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given, each to be compared with the level itself (Holm, 1979).

    The k-th smallest of m is multiplied by m - k + 1; results never decrease with k and are at most 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted.tolist()


def common_ways(decode_dirs: Sequence[Path]) -> list[Way]:
    """What all decodings have scores for; the rest is logged and left out."""
    by_decoding = [_ways(decode_dir) for decode_dir in decode_dirs]
    common = set.intersection(*by_decoding)
    left_out = sorted("/".join(way) for way in set.union(*by_decoding) - common)
    if not common:
        raise ValueError(
            f"{', '.join(map(str, decode_dirs))}: no test set is scored for all of them, only {', '.join(left_out)}; "
            "decode and score the same test sets (stages 7 and 8)"
        )
    if left_out:
        log(f"left out, since not every decoding has scores for it: {', '.join(left_out)}")
    return sorted(common)


def _ways(decode_dir: Path) -> set[Way]:
    audits = decode_dir.glob("*/score_*/audit.jsonl")
    ways = {Way(audit.parent.parent.name, audit.parent.name) for audit in audits}
    if not ways:
        raise FileNotFoundError(f"{decode_dir}/*/score_*/audit.jsonl: nothing is scored; run stage 8 first")
    return ways


def _compare_on(decode_dirs: Sequence[Path], way: Way) -> Iterator[Comparison]:
    directories = [decode_dir.joinpath(*way) for decode_dir in decode_dirs]
    scoring = _same_scoring(directories)
    audits = [read_audit(directory / "audit.jsonl") for directory in directories]
    for audit in audits[1:]:
        check_same_references(audits[0], audit)
    errors = np.stack([audit.errors for audit in audits], axis=1)
    resampled = resample(way.test_set, errors, audits[0].units, audits[0].speakers)
    for first, second in itertools.combinations(range(len(audits)), 2):
        tests = {name: test(audits[first], audits[second]) for name, test in TESTS.items()}
        yield Comparison(
            first=first,
            second=second,
            way=way,
            scoring=scoring,
            utts=len(audits[0].ids),
            resampled_by=resampled.by,
            num_resampled=resampled.num,
            rates=(_rate(resampled, first), _rate(resampled, second)),
            difference=Value(*resampled.difference(first, second)),
            tests=tests,
            p_holm={name: found.p_value for name, found in tests.items()},
        )


def _rate(resampled: Resampled, system: int) -> Value:
    return Value(float(resampled.rates[0, system]), *resampled.interval(system))


def _adjusted(family: Sequence[Comparison]) -> list[Comparison]:
    adjusted = {name: holm([comparison.tests[name].p_value for comparison in family]) for name in TESTS}
    return [
        replace(comparison, p_holm={name: adjusted[name][place] for name in TESTS})
        for place, comparison in enumerate(family)
    ]


def _same_scoring(directories: Sequence[Path]) -> Scoring:
    found = [_scoring(directory / "score.json") for directory in directories]
    for directory, scoring in zip(directories, found, strict=True):
        if scoring != found[0]:
            raise ValueError(
                f"{directory / 'score.json'}: got {' '.join(scoring)}, but {' '.join(found[0])} in {directories[0]}; "
                "rerun stage 8 for both with one language table"
            )
    return found[0]


def _scoring(path: Path) -> Scoring:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        return Scoring(*(str(row[field]) for field in Scoring._fields))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a score of stage 8 ({error}); rerun stage 8") from error
