"""Score one test set: normalise both sides, align, count.

In: a `TestSet`, its hypotheses, a unit and a normaliser. Out: one `ScoredUtterance` per utterance. All are held in
memory with their transcripts, as the reports need them in two orders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from zipperasr.score.align import align_all
from zipperasr.score.diagnose import Diagnosis
from zipperasr.score.normalise import normaliser, split_units
from zipperasr.score.transcripts import TestSet


@dataclass(frozen=True)
class ScoredUtterance:
    id: str
    speaker: str
    repeat: int  # how often the authors' list names it
    raw_reference: str  # before normalisation
    raw_hypothesis: str
    reference: list[str]  # units: words or graphemes
    hypothesis: list[str]
    operations: str  # C S D I, see zipperasr.score.align
    flags: list[str] = field(default_factory=list)  # of zipperasr.score.diagnose

    @property
    def num_errors(self) -> int:
        return len(self.operations) - self.operations.count("C")


@dataclass(frozen=True)
class Counts:
    """Sums over utterances; `rate` is the error rate in per cent."""

    utterances: int
    ref_units: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """100 * errors / reference units; nan where there is no reference unit."""
        return 100.0 * self.errors / self.ref_units if self.ref_units else float("nan")


def score_utterances(
    test_set: TestSet, hypotheses: dict[str, str], unit: str, name: str, diagnosis: Diagnosis
) -> list[ScoredUtterance]:
    """Normalise with the normaliser called `name`, align in `unit`s; utterances in the order of their ids."""
    clean = normaliser(name)
    ids = sorted(test_set.references)
    pairs = [
        (split_units(clean(test_set.references[utt]), unit), split_units(clean(hypotheses[utt]), unit)) for utt in ids
    ]
    return [
        ScoredUtterance(
            id=utt,
            speaker=test_set.speakers[utt],
            repeat=test_set.repeats[utt],
            raw_reference=test_set.references[utt],
            raw_hypothesis=hypotheses[utt],
            reference=reference,
            hypothesis=hypothesis,
            operations=operations,
            flags=diagnosis.flags(reference, hypothesis, operations, (test_set.references[utt], hypotheses[utt])),
        )
        for utt, (reference, hypothesis), operations in zip(ids, pairs, align_all(pairs), strict=True)
    ]


def count(utterances: Iterable[ScoredUtterance], as_listed: bool = False) -> Counts:
    """Sum up; `as_listed` counts an utterance as often as the authors' list names it."""
    total: Counter[str] = Counter()
    num_utterances = 0
    for utterance in utterances:
        times = utterance.repeat if as_listed else 1
        num_utterances += times
        for operation, number in Counter(utterance.operations).items():
            total[operation] += times * number
    return Counts(num_utterances, total["C"] + total["S"] + total["D"], total["S"], total["D"], total["I"])


def utterance_counts(utterances: Sequence[ScoredUtterance]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(errors, reference units, speakers) of each utterance: (utts,) each."""
    errors = np.array([utterance.num_errors for utterance in utterances])
    return errors, np.array([len(u.reference) for u in utterances]), np.array([u.speaker for u in utterances])
