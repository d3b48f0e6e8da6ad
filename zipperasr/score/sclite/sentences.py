"""sclite's report by sentence (`-o snt`): alignments, rates, and running counts of the speaker.

In: paths, one at a time, per speaker. Out: their text.
"""

from __future__ import annotations

from zipperasr.score.sclite.alignments import utterance_text
from zipperasr.score.sclite.path import Path
from zipperasr.score.sclite.summary_tables import percent, tenths

LINE_WIDTH = 120
_RULE = b"=" * 79


def sentences_head(title: bytes, speaker: bytes) -> bytes:
    indented = b" " * 21 + b"SENTENCE LEVEL REPORT FOR THE SYSTEM:"
    return b"%b\n\n%b\n    Name: %b\n\n%b\n\n\nSPEAKER %b\n" % (_RULE, indented, title, _RULE, speaker)


def sentence_text(path: Path, so_far: list[int], fold_case: bool, attributes: bytes) -> bytes:
    """One utterance. so_far: correct, substituted, deleted, inserted words of its speaker; updated in place."""
    counts = path.counts()
    so_far[:] = [total + number for total, number in zip(so_far, counts, strict=True)]
    lines = [utterance_text(path, LINE_WIDTH, fold_case, attributes), b"\n"]
    num_words = sum(counts[:3])
    for name, number, total in zip(
        ("Correct", "Substitutions", "Deletions", "Insertions"), counts, so_far, strict=True
    ):
        lines.append(_rate(name, number, total, num_words))
    lines += [b"\n", _rate("Errors", sum(counts[1:]), sum(so_far[1:]), num_words), b"\n"]
    for name, columns in (("Ref. words", (0, 1, 2)), ("Hyp. words", (0, 1, 3)), ("Aligned words", (0, 1, 2, 3))):
        number, total = sum(counts[c] for c in columns), sum(so_far[c] for c in columns)
        lines.append(f"{name:<22}={'':11}{number:2d}   ({total:3d})\n".encode())
    return b"".join([*lines, b"\n", b"-" * 79, b"\n\n"])


def _rate(name: str, number: int, total: int, num_words: int) -> bytes:
    value = f"{tenths(percent(number, num_words)):5.1f}" if num_words else "UNDEF"
    return f"{name:<22}=  {value}%   {number:2d}   ({total:3d})\n".encode()
