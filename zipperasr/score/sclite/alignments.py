"""sclite's dump of alignments (`-o pralign`): REF, HYP and Eval lines per utterance, by speaker.

In: paths, one at a time. Out: their text. Errors are upper-cased in ASCII only and columns are padded by bytes, also
with `-e utf-8`. Beside a word of more than 40 bytes sclite prints uninitialised memory for the gap; here it is
asterisks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from zipperasr.score.sclite.path import Path

LINE_WIDTH = 1000  # sclite's default; longer alignments are wrapped
LEAST_LINE_WIDTH = 10  # with less, sclite loops forever
_LABELS = (b"REF:  ", b"HYP:  ", b"Eval: ")
_CONTINUED = b">> "
_RUNS = re.compile("C+|[SDI]")

Column = tuple[bytes, bytes, bytes]  # reference, hypothesis, mark; of one width


def dump_head(title: bytes, speakers: Sequence[bytes]) -> bytes:
    """The dump's first lines: the system and its speakers."""
    names = b"".join(b"   %2d:  %b\n" % numbered for numbered in enumerate(speakers))
    return b"\n\n\t\tDUMP OF SYSTEM ALIGNMENT STRUCTURE\n\nSystem name:   %b\n\nSpeakers: \n%b\n" % (title, names)


def speaker_head(number: int, speaker: bytes, num_utterances: int) -> bytes:
    return b"Speaker sentences%4d:  %b   #utts: %d\n" % (number, speaker, num_utterances)


def utterance_text(path: Path, line_width: int, fold_case: bool, attributes: bytes = b"") -> bytes:
    """One utterance of the dump; `attributes` is the line that -s (and in other reports -c) adds."""
    head = b"id: %b\nScores: (#C #S #D #I) %d %d %d %d\n" % (path.utterance, *path.counts())
    if attributes:
        head += b"Attributes: %b\n" % attributes
    if not path.operations:
        return head
    columns = list(_columns_by_run(path, fold_case) if path.identical else _columns(path, fold_case))
    lines = [label + b" ".join(cells) for label, cells in zip(_LABELS, zip(*columns, strict=True), strict=True)]
    if len(lines[0]) >= line_width:
        return head + _wrapped_text(list(_columns(path, fold_case)), line_width)
    return head + b" \n".join(lines) + b" \n"


def _columns_by_run(path: Path, fold_case: bool) -> Iterator[Column]:
    """Columns of a path whose correct words are identical: a run of them is one column."""
    reference, hypothesis = path.reference, path.hypothesis
    num_ref = num_hyp = 0
    for match in _RUNS.finditer(path.operations):
        operation, length = match.group()[0], match.end() - match.start()
        if operation == "C":
            run = b" ".join(reference[num_ref : num_ref + length])
            yield run, run, b" " * len(run)
            num_ref += length
            num_hyp += length
        else:
            ref = reference[num_ref] if operation != "I" else b""
            hyp = hypothesis[num_hyp] if operation != "D" else b""
            yield _error(operation, ref, hyp, fold_case)
            num_ref += operation != "I"
            num_hyp += operation != "D"


def _columns(path: Path, fold_case: bool) -> Iterator[Column]:
    for operation, ref, hyp in path.steps():
        if operation == "C":
            width = max(len(ref), len(hyp))
            yield ref.ljust(width), hyp.ljust(width), b" " * width
        else:
            yield _error(operation, ref, hyp, fold_case)


def _error(operation: str, ref: bytes, hyp: bytes, fold_case: bool) -> Column:
    """A gap has as many asterisks as the other side has bytes."""
    if fold_case:
        ref, hyp = ref.upper(), hyp.upper()
    if operation == "I":
        ref = b"*" * len(hyp)
    elif operation == "D":
        hyp = b"*" * len(ref)
    width = max(len(ref), len(hyp), operation != "S")
    return ref.ljust(width), hyp.ljust(width), operation.encode().ljust(width)


def _wrapped_text(columns: Sequence[Column], line_width: int) -> bytes:
    blocks = []
    for start, end in _line_ranges([len(ref) for ref, _, _ in columns], line_width):
        prefix = _CONTINUED if start else b""
        for label, cells in zip(_LABELS, zip(*columns[start:end], strict=True), strict=True):
            blocks.append(prefix + label + b"".join(cell + b" " for cell in cells) + b"\n")
        blocks.append(b"\n")
    return b"".join(blocks[:-1])


def _line_ranges(widths: Sequence[int], line_width: int) -> Iterator[tuple[int, int]]:
    """Ranges of columns per line. A word that is wider than a line has one of its own; sclite loops forever."""
    start = 0
    while start < len(widths):
        used, end = len(_LABELS[0]) + (len(_CONTINUED) if start else 0), start
        while used < line_width and end < len(widths):
            used += 1 + widths[end]
            end += 1
        if end < len(widths):
            end = max(end - 1, start + 1)  # the last column does not fit
        yield start, end
        start = end
