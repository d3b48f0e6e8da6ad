"""Score one test set: normalise both sides, align, count.

In: a `TestSet`, its hypotheses, a unit and a normaliser. Out: blocks of `ScoredUtterance`, so that only the transcripts
of a large set are kept in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from zipperasr.score.diagnose import Diagnosis
from zipperasr.score.normalise import normaliser, split_units
from zipperasr.score.sclite.align import align_all
from zipperasr.score.transcripts import TestSet

BLOCK = 2000  # utterances scored together


@dataclass(frozen=True)
class ScoredUtterance:
    """One utterance with its alignment."""

    id: str
    speaker: str
    repeat: int  # how often the authors' list contains it
    raw_reference: str  # before normalisation
    raw_hypothesis: str
    reference: list[str]  # units: words or graphemes
    hypothesis: list[str]
    operations: str  # C S D I, see zipperasr.score.sclite.align
    flags: list[str] = field(default_factory=list)  # see zipperasr.score.diagnose

    @property
    def num_errors(self) -> int:
        return len(self.operations) - self.operations.count("C")


@dataclass
class Counts:
    """Sums over utterances; `rate` is the error rate in per cent."""

    utterances: int = 0
    correct: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def add(self, utterance: ScoredUtterance, times: int = 1) -> None:
        """Count an utterance `times` times."""
        operations = utterance.operations
        self.utterances += times
        self.correct += times * operations.count("C")
        self.substitutions += times * operations.count("S")
        self.deletions += times * operations.count("D")
        self.insertions += times * operations.count("I")

    @property
    def ref_units(self) -> int:
        return self.correct + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """100 * errors / reference units; nan without reference units."""
        return 100.0 * self.errors / self.ref_units if self.ref_units else float("nan")


def score_utterances(
    test_set: TestSet, hypotheses: dict[str, str], unit: str, name: str, diagnosis: Diagnosis
) -> Iterator[list[ScoredUtterance]]:
    """Yield blocks of utterances in the order of their ids. name: the normaliser's; unit: "wer" or "cer"."""
    clean = normaliser(name)
    for ids in batched(sorted(test_set.references), BLOCK):
        pairs = [
            (split_units(clean(test_set.references[utt]), unit), split_units(clean(hypotheses[utt]), unit))
            for utt in ids
        ]
        block = []
        for utt, (reference, hypothesis), operations in zip(ids, pairs, align_all(pairs), strict=True):
            raw = (test_set.references[utt], hypotheses[utt])
            flags = diagnosis.flags(reference, hypothesis, operations, raw)
            about = (utt, test_set.speakers[utt], test_set.repeats[utt])
            block.append(ScoredUtterance(*about, *raw, reference, hypothesis, operations, flags))
        yield block


def batched(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
