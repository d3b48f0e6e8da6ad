"""Corpus readers: (root, language, split) -> utterances. A new corpus is one reader file and one line in CORPORA.

A corpus's reader is the function `read` of the module of its name. A split may be several official ones joined by
`+`; an id that stands in two of them is taken once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from zipperasr.cli import nearest
from zipperasr.corpora.utterance import Utterance

Reader = Callable[[Path, str, str], Iterator[Utterance]]

CORPORA = (
    "mls",
    "commonvoice",
    "librispeech",
    "msr86k",
    "wenetspeech",
)


def reader_of(corpus: str) -> Reader:
    """The corpus's reader. Raises ValueError naming the nearest known corpus."""
    if corpus not in CORPORA:
        raise ValueError(f"unknown corpus {corpus!r}; {nearest(corpus, CORPORA)}; or add its reader in {__name__}")
    return import_module(f"{__name__}.{corpus}").read


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
