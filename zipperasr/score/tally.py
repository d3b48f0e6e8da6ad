"""Sum up a test set: its row of scores.tsv, and notes.

In: blocks of scored utterances. Out: `SetScore`, notes. A few numbers per utterance are kept, but no text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from zipperasr.score.jiwer_check import Excess, jiwer_errors
from zipperasr.score.scores_table import SetScore
from zipperasr.score.test_set import Counts, ScoredUtterance
from zipperasr.score.transcripts import TestSet
from zipperasr.stats.bootstrap import resample

LANGUAGE_FLAGS = {"script", "language"}


class Tally:
    """Sums of one test set, scored with one unit and normaliser."""

    def __init__(self, test_set: TestSet, unit: str, norm: str):
        self._test_set, self._unit, self._norm = test_set, unit, norm
        self._unique, self._listed = Counts(), Counts()
        self._errors: list[int] = []
        self._units: list[int] = []
        self._speakers: list[str] = []
        self._found: Counter[str] = Counter()
        self._jiwer = 0
        self._excess = Excess()
        self._emptied: ScoredUtterance | None = None  # the first one

    def add(self, utterances: Sequence[ScoredUtterance]) -> None:
        """Add a block. Raises RuntimeError if we count fewer errors than jiwer's minimum."""
        edits = jiwer_errors(utterances)
        self._jiwer += sum(edits)
        self._excess.add(utterances, edits)
        for utterance in utterances:
            self._unique.add(utterance)
            self._listed.add(utterance, utterance.repeat)
            self._errors.append(utterance.num_errors)
            self._units.append(len(utterance.reference))
            self._speakers.append(utterance.speaker)
            flags = set(utterance.flags)
            self._found.update(flags, language_errors=int(bool(flags & LANGUAGE_FLAGS)))
            self._found["empty hypotheses"] += not utterance.hypothesis
            if not utterance.reference:
                self._found["emptied references"] += 1
                self._emptied = self._emptied or utterance

    def row(self) -> SetScore:
        """The row of scores.tsv, without the real-time factor."""
        test_set, unique, listed = self._test_set, self._unique, self._listed
        resampled = resample(test_set.name, *map(np.array, (self._errors, self._units, self._speakers)))
        low, high = resampled.interval()
        return SetScore(
            set=test_set.name,
            phase=test_set.phase,
            corpus=test_set.corpus,
            language=test_set.language,
            unit=self._unit,
            normaliser=self._norm,
            utts=unique.utterances,
            ref_units=unique.ref_units,
            errors=unique.errors,
            substitutions=unique.substitutions,
            deletions=unique.deletions,
            insertions=unique.insertions,
            rate=unique.rate,
            jiwer_errors=self._jiwer,
            empty=self._found["empty hypotheses"],
            emptied_refs=self._found["emptied references"],
            listed_utts=listed.utterances,
            listed_ref_units=listed.ref_units,
            listed_errors=listed.errors,
            listed_rate=listed.rate,
            low=low,
            high=high,
            resampled_by=resampled.by,
            speakers=len(set(self._speakers)),
            loops=self._found["loop"],
            bursts=self._found["burst"],
            language_errors=self._found["language_errors"],
            chat_replies=self._found["chat"],
        )

    def notes(self) -> list[str]:
        """Errors beyond jiwer's minimum; references that are empty after normalisation but still scored."""
        notes = [self._excess.explained()]
        if self._emptied is not None:
            notes.append(
                f"{self._found['emptied references']} references are empty after normalisation; their output counts as "
                f"insertions (first: {self._emptied.id}, {self._emptied.raw_reference!r})"
            )
        return [note for note in notes if note]
