"""sclite's two summary tables: percentages by speaker (`-o sum`) and raw counts (`-o rsum`).

In: counts by speaker, in order of appearance. Out: the table's text, sclite's to the byte: its rounding (half away
from zero), its plain summation, and its slip when several speakers have no reference words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zipperasr.score.sclite_box import PAGE_WIDTH, Row, centred, draw

TITLE = "SYSTEM SUMMARY PERCENTAGES by SPEAKER"
HEADER = (" SPKR", " # Snt", "# Wrd", "Corr", " Sub", " Del", " Ins", " Err", "S.Err")
FOOTNOTE = (
    "\n* No Reference words for this/these speaker(s).  Word counts supplied\n"
    "  rather than percents.\n"
    "# No Reference words for this/these speaker(s).  NCE not computable.\n"
    "+ Speaker(s) with no reference data is ignored\n"
)


@dataclass(frozen=True)
class SpeakerCounts:
    """One line of the tables."""

    name: str
    sentences: int
    correct: int
    substitutions: int
    deletions: int
    insertions: int
    sentence_errors: int

    @property
    def words(self) -> int:
        return self.correct + self.substitutions + self.deletions

    @property
    def events(self) -> list[int]:
        """Corr, Sub, Del, Ins, Err: the tables' middle columns."""
        errors = self.substitutions + self.deletions + self.insertions
        return [self.correct, self.substitutions, self.deletions, self.insertions, errors]


def percentages(speakers: Sequence[SpeakerCounts], title: str) -> str:
    """`-o sum`: percentages of the reference words by speaker; mean, S.D. and median over speakers."""
    total = _total(speakers)
    rows = [Row("-", HEADER), *(Row("-", [*_label(s), *_percent_cells(s)]) for s in speakers)]
    rows.append(Row("=", [" Sum/Avg", *_label(total)[1:], *_percent_cells(total, starred=False)]))
    num_silent = sum(speaker.words == 0 for speaker in speakers)
    events = [
        _without_silent(
            speakers, [_percent(s.events[column], s.words) if s.words else s.events[column] for s in speakers]
        )
        for column in range(5)
    ]
    sentence_errors = [_percent(speaker.sentence_errors, speaker.sentences) for speaker in speakers]
    rows += _statistics(speakers, events, sentence_errors, mark="+" if num_silent else " ")
    return _page(title, rows) + (FOOTNOTE if num_silent else "")


def raw_counts(speakers: Sequence[SpeakerCounts], title: str) -> str:
    """`-o rsum`: counts by speaker, their sum, mean, S.D. and median."""
    rows = [Row("-", HEADER)]
    for separator, speaker in [*(("-", speaker) for speaker in speakers), ("=", _total(speakers))]:
        label = [" Sum", *_label(speaker)[1:]] if separator == "=" else _label(speaker)
        rows.append(Row(separator, [*label, *(f"{n:5d} " for n in [*speaker.events, speaker.sentence_errors])]))
    events = [[float(speaker.events[column]) for speaker in speakers] for column in range(5)]
    rows += _statistics(speakers, events, [float(speaker.sentence_errors) for speaker in speakers], mark=" ")
    return _page(title, rows)


def _page(title: str, rows: Sequence[Row]) -> str:
    return f"\n\n\n{centred(TITLE, PAGE_WIDTH)}\n\n{draw(title, rows)}"


def _label(speaker: SpeakerCounts) -> list[str]:
    return [f" {speaker.name} ", f"{speaker.sentences:5d}", f"{speaker.words:5d}"]


def _percent_cells(speaker: SpeakerCounts, starred: bool = True) -> list[str]:
    """Six cells; a speaker without reference words shows starred counts instead."""
    if starred and not speaker.words:
        cells = [f"{count:5d}*" for count in speaker.events]
    else:
        cells = [_tenths(_percent(count, speaker.words)) for count in speaker.events]
    return [*cells, _tenths(_percent(speaker.sentence_errors, speaker.sentences))]


def _statistics(
    speakers: Sequence[SpeakerCounts], events: list[list[float]], sentence_errors: list[float], mark: str
) -> list[Row]:
    rows = []
    labelled: list[tuple[str, Callable[[list[float]], float]]]
    labelled = [(" Mean ", _mean), (" S.D. ", _deviation), ("Median", _median)]
    for label, function in labelled:
        sizes = [[float(s.sentences) for s in speakers], [float(s.words) for s in speakers]]
        cells = [label, *(_tenths(function(column)) for column in sizes)]
        cells += [_tenths(function(column), mark) for column in events]
        cells.append(_tenths(function(sentence_errors)))
        rows.append(Row("=" if label == " Mean " else "", cells, centred_label=True))
    return rows


def _without_silent(speakers: Sequence[SpeakerCounts], column: list[float]) -> list[float]:
    """Leave out speakers without reference words, as sclite does.

    It closes each gap at the speaker's first position although earlier gaps have moved the rest up, so with several
    such speakers it drops neighbours instead. Kept, since these are sclite's figures.
    """
    column = list(column)
    num_silent = 0
    for position, speaker in enumerate(speakers):
        if not speaker.words:
            del column[position]
            column.append(-1000.0)
            num_silent += 1
    return column[: len(column) - num_silent]


def _total(speakers: Sequence[SpeakerCounts]) -> SpeakerCounts:
    fields = ("sentences", "correct", "substitutions", "deletions", "insertions", "sentence_errors")
    return SpeakerCounts("", *(sum(getattr(speaker, field) for speaker in speakers) for field in fields))


def _percent(part: float, whole: float) -> float:
    return part / whole * 100.0 if whole else 0.0


def _tenths(value: float, mark: str = " ") -> str:
    return f"{int(value * 10.0 + (0.5 if value > 0 else -0.5)) / 10.0:5.1f}{mark}"


def _mean(values: list[float]) -> float:
    return _plain_sum(values) / len(values) if values else 0.0


def _deviation(values: list[float]) -> float:
    mean = _mean(values)
    squares = _plain_sum([(value - mean) * (value - mean) for value in values])
    return math.sqrt(squares / (len(values) - 1)) if squares else 0.0


def _median(values: list[float]) -> float:
    ordered, middle = sorted(values), len(values) // 2
    if not ordered:
        return 0.0
    return ordered[middle] if len(ordered) % 2 else (ordered[middle] + ordered[middle - 1]) / 2


def _plain_sum(values: list[float]) -> float:
    total = 0.0  # not sum(), which compensates rounding from Python 3.12 on and would differ in the last bit
    for value in values:
        total += value
    return total
