"""sclite's two summary tables: percentages by speaker (`-o sum`) and raw counts (`-o rsum`).

In: counts by speaker, in order of appearance. Out: the table, byte for byte sclite's: with its rounding (half away
from zero), its plain summation, and its error if several speakers have no reference words.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zipperasr.score.sclite.box import PAGE_WIDTH, Row, centred, draw
from zipperasr.score.sclite.path import Path

TITLE = b"SYSTEM SUMMARY PERCENTAGES by SPEAKER"
HEADER = (b" SPKR", b" # Snt", b"# Wrd", b"Corr", b" Sub", b" Del", b" Ins", b" Err", b"S.Err")
FOOTNOTE = (
    b"\n* No Reference words for this/these speaker(s).  Word counts supplied\n"
    b"  rather than percents.\n"
    b"# No Reference words for this/these speaker(s).  NCE not computable.\n"
    b"+ Speaker(s) with no reference data is ignored\n"
)


@dataclass
class SpeakerCounts:
    """One line of the tables."""

    name: bytes
    sentences: int = 0
    correct: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    sentence_errors: int = 0

    def add(self, path: Path) -> None:
        """Count one utterance."""
        correct, substituted, deleted, inserted = path.counts()
        self.sentences += 1
        self.correct += correct
        self.substitutions += substituted
        self.deletions += deleted
        self.insertions += inserted
        self.sentence_errors += correct < len(path.operations)

    @property
    def words(self) -> int:
        return self.correct + self.substitutions + self.deletions

    @property
    def events(self) -> list[int]:
        """Corr, Sub, Del, Ins, Err: the tables' middle columns."""
        errors = self.substitutions + self.deletions + self.insertions
        return [self.correct, self.substitutions, self.deletions, self.insertions, errors]


def percentages(speakers: Sequence[SpeakerCounts], title: bytes, unit: bytes = b"# Wrd") -> bytes:
    """`-o sum`: percentages of the reference words by speaker; mean, S.D. and median over speakers."""
    everybody = total(speakers)
    rows = [Row(b"-", _header(unit)), *(Row(b"-", [*_label(s), *_percent_cells(s)]) for s in speakers)]
    rows.append(Row(b"=", [b" Sum/Avg", *_label(everybody)[1:], *_percent_cells(everybody, starred=False)]))
    num_silent = sum(speaker.words == 0 for speaker in speakers)
    events = [
        _without_silent(
            speakers, [percent(s.events[column], s.words) if s.words else s.events[column] for s in speakers]
        )
        for column in range(5)
    ]
    sentence_errors = [percent(speaker.sentence_errors, speaker.sentences) for speaker in speakers]
    rows += _statistics(speakers, events, sentence_errors, mark=b"+" if num_silent else b" ")
    return _page(title, rows) + (FOOTNOTE if num_silent else b"")


def raw_counts(speakers: Sequence[SpeakerCounts], title: bytes, unit: bytes = b"# Wrd") -> bytes:
    """`-o rsum`: counts by speaker, their sum, mean, S.D. and median."""
    rows = [Row(b"-", _header(unit))]
    for separator, speaker in [*((b"-", speaker) for speaker in speakers), (b"=", total(speakers))]:
        label = [b" Sum", *_label(speaker)[1:]] if separator == b"=" else _label(speaker)
        rows.append(
            Row(separator, [*label, *(b"%5.0f " % _single(n) for n in [*speaker.events, speaker.sentence_errors])])
        )
    events = [[float(speaker.events[column]) for speaker in speakers] for column in range(5)]
    rows += _statistics(speakers, events, [float(speaker.sentence_errors) for speaker in speakers], mark=b" ")
    return _page(title, rows)


def _page(title: bytes, rows: Sequence[Row]) -> bytes:
    return b"\n\n\n%b\n\n%b" % (centred(TITLE, PAGE_WIDTH), draw(title, rows))


def _header(unit: bytes) -> list[bytes]:
    return [*HEADER[:2], unit, *HEADER[3:]]


def _label(speaker: SpeakerCounts) -> list[bytes]:
    return [b" %b " % speaker.name, b"%5d" % speaker.sentences, b"%5d" % speaker.words]


def _percent_cells(speaker: SpeakerCounts, starred: bool = True) -> list[bytes]:
    """Six cells; a speaker without reference words shows starred counts instead."""
    if starred and not speaker.words:
        cells = [b"%5.0f*" % _single(count) for count in speaker.events]
    else:
        cells = [_tenths(percent(count, speaker.words)) for count in speaker.events]
    return [*cells, _tenths(percent(speaker.sentence_errors, speaker.sentences))]


def _statistics(
    speakers: Sequence[SpeakerCounts], events: list[list[float]], sentence_errors: list[float], mark: bytes
) -> list[Row]:
    rows = []
    labelled: list[tuple[bytes, Callable[[list[float]], float]]]
    labelled = [(b" Mean ", _mean), (b" S.D. ", _deviation), (b"Median", _median)]
    for label, function in labelled:
        sizes = [[float(s.sentences) for s in speakers], [float(s.words) for s in speakers]]
        cells = [label, *(_tenths(function(column)) for column in sizes)]
        cells += [_tenths(function(column), mark) for column in events]
        cells.append(_tenths(function(sentence_errors)))
        rows.append(Row(b"=" if label == b" Mean " else b"", cells, centred_label=True))
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


def total(speakers: Sequence[SpeakerCounts]) -> SpeakerCounts:
    fields = ("sentences", "correct", "substitutions", "deletions", "insertions", "sentence_errors")
    return SpeakerCounts(b"", *(sum(getattr(speaker, field) for speaker in speakers) for field in fields))


def percent(part: float, whole: float) -> float:
    return part / whole * 100.0 if whole else 0.0


def tenths(value: float) -> float:
    """Rounded to one decimal, halves away from zero; through C's float, which is coarse beyond 1.6 million."""
    return _single(int(value * 10.0 + (0.5 if value > 0 else -0.5))) / 10.0


def _single(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def _tenths(value: float, mark: bytes = b" ") -> bytes:
    return b"%5.1f%b" % (tenths(value), mark)


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
