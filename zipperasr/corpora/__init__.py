"""Corpus readers: (root, language, split) -> utterances. A new corpus is one reader file and one line in CORPORA.

A split may be several official ones joined by `+`; an id that stands in two of them is taken once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from zipperasr.cli import nearest
from zipperasr.corpora import commonvoice, librispeech, mls, msr86k, wenetspeech
from zipperasr.corpora.utterance import Utterance

Reader = Callable[[Path, str, str], Iterator[Utterance]]

CORPORA: dict[str, Reader] = {
    "mls": mls.read,
    "commonvoice": commonvoice.read,
    "librispeech": librispeech.read,
    "msr86k": msr86k.read,
    "wenetspeech": wenetspeech.read,
}


def reader_of(corpus: str) -> Reader:
    """The corpus's reader. Raises ValueError naming the nearest known corpus."""
    if corpus not in CORPORA:
        raise ValueError(f"unknown corpus {corpus!r}; {nearest(corpus, list(CORPORA))}")
    return CORPORA[corpus]


def read_corpus(corpus: str, root: str | Path, language: str, splits: str) -> Iterator[Utterance]:
    """Yield the utterances of one split, or of several joined by `+`."""
    reader = reader_of(corpus)
    names = splits.split("+")
    if len(names) == 1:
        yield from reader(Path(root), language, splits)
        return
    seen: set[str] = set()
    for name in names:
        for utterance in reader(Path(root), language, name):
            if utterance.id not in seen:
                seen.add(utterance.id)
                yield utterance
