"""The registry of corpora: (root, language, split) -> utterances.

A new corpus is one reader module and one line in CORPORA. A package outside this one can register a corpus at run time:
`CORPORA["fleurs"] = Corpus("my_package.fleurs")`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from zipperasr.cli import nearest
from zipperasr.corpora.utterance import Utterance

Reader = Callable[[Path, str, str], Iterator[Utterance]]


@dataclass(frozen=True)
class Corpus:
    """A corpus's reader, and what distinguishes the corpus from others."""

    module: str  # whose function `read(root, language, split)` yields utterances
    upper_case: bool = False  # transcripts are in capitals: stage 1 writes them in lower case
    evaluation_splits_in_train: tuple[str, ...] = ()  # official splits to exclude if training data is sampled

    @property
    def read(self) -> Reader:
        """The reader."""
        return import_module(self.module).read


CORPORA = {
    "mls": Corpus("zipperasr.corpora.mls"),
    "commonvoice": Corpus("zipperasr.corpora.commonvoice", evaluation_splits_in_train=("test", "dev")),
    "librispeech": Corpus("zipperasr.corpora.librispeech", upper_case=True),
    "msr86k": Corpus("zipperasr.corpora.msr86k"),
    "wenetspeech": Corpus("zipperasr.corpora.wenetspeech"),
}


def find_corpus(name: str) -> Corpus:
    """Look a corpus up. Raises ValueError naming the nearest known corpus."""
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}; {nearest(name, list(CORPORA))}; or add it to CORPORA in {__name__}")
    return CORPORA[name]


def read_corpus(name: str, root: str | Path, language: str, splits: str) -> Iterator[Utterance]:
    """Yield the utterances of one split, or of several joined by `+`; an id that is in two splits comes once."""
    reader = find_corpus(name).read
    names = splits.split("+")
    if len(names) == 1:
        yield from reader(Path(root), language, splits)
        return
    seen: set[str] = set()
    for split in names:
        for utterance in reader(Path(root), language, split):
            if utterance.id not in seen:
                seen.add(utterance.id)
                yield utterance
