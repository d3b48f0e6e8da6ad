"""sclite's dump of alignments (`-o pralign`): REF, HYP and Eval lines per utterance, by speaker.

In: scored utterances grouped by speaker. Out: text. Errors are upper-cased in ASCII only and columns are padded by
bytes: that is what sclite does without `-e`, and ESPnet's result.txt has it so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zipperasr.score.sclite_box import width
from zipperasr.score.scored import ScoredUtterance
from zipperasr.score.trn import trn_id

LINE_WIDTH = 1000  # sclite's default; longer alignments are folded
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {lower: upper for upper, lower in _LOWER.items()}


def ascii_lower(text: str) -> str:
    return text.translate(_LOWER)


def alignments(by_speaker: dict[str, list[ScoredUtterance]], title: str) -> str:
    """The whole dump."""
    lines = ["\n\n\t\tDUMP OF SYSTEM ALIGNMENT STRUCTURE\n", f"System name:   {title}\n", "Speakers: "]
    lines += [f"   {number:2d}:  {speaker}" for number, speaker in enumerate(by_speaker)]
    lines.append("")
    for number, (speaker, utterances) in enumerate(by_speaker.items()):
        lines.append(f"Speaker sentences{number:4d}:  {speaker}   #utts: {len(utterances)}")
        for utterance in utterances:
            lines += _utterance(utterance)
    return "\n".join([*lines, "", ""])


def _utterance(utterance: ScoredUtterance) -> list[str]:
    ops = utterance.operations
    counts = " ".join(str(ops.count(kind)) for kind in "CSDI")
    lines = [f"id: {ascii_lower(trn_id(utterance))}", f"Scores: (#C #S #D #I) {counts}"]
    columns = list(_columns(utterance))
    if not columns:
        return [*lines, ""]
    for start, end in _folds(columns):
        prefix = ">> " if start else ""
        if start:
            lines.append("")
        for label, cell in (("REF:  ", 0), ("HYP:  ", 1), ("Eval: ", 2)):
            cells = (_pad(column[cell], max(width(column[0]), width(column[1]))) for column in columns[start:end])
            lines.append(prefix + label + "".join(cells))
    return [*lines, ""]


def _columns(utterance: ScoredUtterance) -> Iterator[tuple[str, str, str]]:
    """(reference, hypothesis, mark) per operation; a gap is as many asterisks as the other side has bytes."""
    reference, hypothesis = iter(utterance.reference), iter(utterance.hypothesis)
    for operation in utterance.operations:
        ref = next(reference) if operation != "I" else ""
        hyp = next(hypothesis) if operation != "D" else ""
        if operation == "C":
            yield ascii_lower(ref), ascii_lower(hyp), ""
        else:
            ref, hyp = ref.translate(_UPPER), hyp.translate(_UPPER)
            yield ref or "*" * width(hyp), hyp or "*" * width(ref), operation


def _folds(columns: Sequence[tuple[str, str, str]]) -> Iterator[tuple[int, int]]:
    """Ranges of columns that go on one line."""
    start = 0
    while start < len(columns):
        used, end = (9 if start else 6), start
        while used < LINE_WIDTH and end < len(columns):
            ref, hyp, mark = columns[end]
            used += 1 + max(1 if mark == "I" else width(ref), 1 if mark == "D" else width(hyp))
            end += 1
        end = end - 1 if end < len(columns) and end - 1 > start else end  # the last one crossed the margin
        yield start, end
        start = end


def _pad(text: str, size: int) -> str:
    return text + " " * (size - width(text) + 1)
