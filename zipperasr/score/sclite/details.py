"""sclite's detailed reports: over all speakers (`-o dtl`) and of each (`-o spk`).

In: paths, one at a time. Out: text. Only counts by word and pair of words are kept. The spelling `substitions` is
sclite's.
"""

from __future__ import annotations

from collections import Counter

from zipperasr.score.sclite.path import Path
from zipperasr.score.sclite.summary_tables import SpeakerCounts, percent, tenths

_EVENTS = (("Substitution", "substitutions"), ("Deletions", "deletions"), ("Insertions", "insertions"))
_SUBSTITUTION_NOTE = (
    b"\n* NOTE: The 'Substitution' words are those reference words\n"
    b"        for which the recognizer supplied an incorrect word.\n"
)
_FALSE_NOTE = (
    b"\n* NOTE: The 'Falsely Recognized' words are those hypothesis words\n"
    b"        which the recognizer incorrectly substituted for a reference word.\n"
)


class Details:
    """Counts of errors by word."""

    def __init__(self) -> None:
        self._confusions: Counter[tuple[bytes, bytes]] = Counter()
        self._deleted: Counter[bytes] = Counter()
        self._inserted: Counter[bytes] = Counter()
        self._sentences_with: Counter[str] = Counter()

    def add(self, path: Path) -> None:
        """Count one utterance."""
        self._sentences_with.update(set(path.operations))
        for operation, ref, hyp in path.steps():
            if operation == "S":
                self._confusions[ref, hyp] += 1
            elif operation == "D":
                self._deleted[ref] += 1
            elif operation == "I":
                self._inserted[hyp] += 1

    def overall_report(self, title: bytes, counts: SpeakerCounts) -> bytes:
        """`-o dtl`; `counts` are the sums over all speakers."""
        return b"DETAILED OVERALL REPORT FOR THE SYSTEM: %b\n" % title + self._body(counts)

    def speaker_report(self, title: bytes, counts: SpeakerCounts) -> bytes:
        """`-o spk`, one speaker."""
        return b"SCORING FOR SPEAKER: %b\n     of %b\n" % (counts.name, title) + self._body(counts)

    def _body(self, counts: SpeakerCounts) -> bytes:
        pairs: Counter[bytes] = Counter()
        references: Counter[bytes] = Counter()
        hypotheses: Counter[bytes] = Counter()
        for (ref, hyp), number in self._confusions.items():
            pairs[b"%b ==> %b" % (ref, hyp)] += number
            references[ref] += number
            hypotheses[hyp] += number
        lists = [
            _listed("CONFUSION PAIRS", pairs),
            _listed("INSERTIONS", self._inserted),
            _listed("DELETIONS", self._deleted),
            _listed("SUBSTITUTIONS", references) + _SUBSTITUTION_NOTE,
            _listed("FALSELY RECOGNIZED", hypotheses) + _FALSE_NOTE,
        ]
        return b"\n" + self._sentences(counts) + b"\n\n" + _words(counts) + b"\n" + b"\n\n".join(lists) + b"\n"

    def _sentences(self, counts: SpeakerCounts) -> bytes:
        with_errors = [(" with errors", counts.sentence_errors)]
        with_errors += [
            (f"   with {name}", self._sentences_with[operation])
            for name, operation in (("substitions", "S"), ("deletions", "D"), ("insertions", "I"))
        ]
        lines = [f"SENTENCE RECOGNITION PERFORMANCE\n\n sentences{'':40}{counts.sentences:4d}"]
        for name, number in with_errors:
            lines.append(f"{name:<39}{tenths(percent(number, counts.sentences)):6.1f}%   ({number:4d})")
        lines.insert(2, "")
        return _encoded(lines)


def _words(counts: SpeakerCounts) -> bytes:
    errors = counts.events[-1]
    lines = ["WORD RECOGNITION PERFORMANCE", "", f"{_rate('Total Error', errors, counts.words)}   ({errors:4d})", ""]
    lines += [f"{_rate('Correct', counts.correct, counts.words)}   ({counts.correct:4d})", ""]
    for name, attribute in _EVENTS:
        number = getattr(counts, attribute)
        lines.append(f"{_rate(name, number, counts.words)}   ({number:4d})")
    accuracy = f"{tenths(100.0 - percent(errors, counts.words)):5.1f}" if counts.words else "UNDEF"
    lines += [f"{'Percent Word Accuracy':<26}=  {accuracy}%", "", ""]
    hypothesis_words = counts.correct + counts.substitutions + counts.insertions
    for name, number in (
        ("Ref. words", counts.words),
        ("Hyp. words", hypothesis_words),
        ("Aligned words", hypothesis_words + counts.deletions),
    ):
        lines.append(f"{name:<26}={'':11}({number:4d})")
    return _encoded(lines)


def _rate(name: str, number: int, num_words: int) -> str:
    value = f"{tenths(percent(number, num_words)):5.1f}" if num_words else "UNDEF"
    return f"{f'Percent {name}':<26}=  {value}%"


def _listed(title: str, counter: Counter[bytes]) -> bytes:
    """Words by descending count, then by their bytes."""
    lines = [f"{title:<30}   Total                 ({len(counter)})"]
    lines += [f"{'':<30}   With >=  1 occurrences ({len(counter)})", ""]
    ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    entries = b"".join(
        b"%4d: %4d  ->  %b\n" % (rank, number, word) for rank, (word, number) in enumerate(ranked, start=1)
    )
    return _encoded(lines) + entries + _encoded(["     -------", f"     {counter.total():5d}", ""])


def _encoded(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
