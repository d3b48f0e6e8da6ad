"""The registry of corpora and formats: (root, language, split) -> utterances.

A new corpus is one reader module and one line in CORPORA, or a Python file of the recipe, such as `local/village.py`. A
package outside this one can register a corpus at run time: `CORPORA["voxpopuli"] = Corpus("my_package.voxpopuli")`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from zipperasr.cli import nearest
from zipperasr.corpora.utterance import Utterance

Reader = Callable[[Path, str, str], Iterator[Utterance]]


@dataclass(frozen=True)
class Corpus:
    """A corpus's reader, and what distinguishes the corpus from others."""

    module: str  # whose function `read(root, language, split)` yields utterances; or a file, ending in .py
    upper_case: bool = False  # transcripts are in capitals: stage 1 writes them in lower case
    evaluation_splits_in_train: tuple[str, ...] = ()  # official splits to exclude if training data is sampled
    hub_id: str = ""  # on Hugging Face's hub, if it is one data set there
    deep_tables: tuple[str, ...] = ()  # files in ROOT/*/*/ that list utterances: stage 1 runs again if they change

    @property
    def read(self) -> Reader:
        """The reader. Raises ValueError if the file does not define one."""
        if not self.module.endswith(PYTHON):
            return import_module(self.module).read
        return _read_of_file(self.module)


CORPORA = {
    "mls": Corpus("zipperasr.corpora.mls", hub_id="facebook/multilingual_librispeech", deep_tables=("*.txt",)),
    "commonvoice": Corpus("zipperasr.corpora.commonvoice", evaluation_splits_in_train=("test", "dev")),
    "librispeech": Corpus("zipperasr.corpora.librispeech", upper_case=True, hub_id="openslr/librispeech_asr"),
    "msr86k": Corpus("zipperasr.corpora.msr86k"),
    "wenetspeech": Corpus("zipperasr.corpora.wenetspeech"),
    "fleurs": Corpus("zipperasr.corpora.fleurs", hub_id="google/fleurs", deep_tables=("*.tsv",)),
    # Formats of data of one's own: own_data.py
    "jsonl": Corpus("zipperasr.corpora.jsonl"),
    "csv": Corpus("zipperasr.corpora.csv_table"),
    "kaldi": Corpus(
        "zipperasr.corpora.kaldi_dir", deep_tables=("wav.scp", "text", "segments", "utt2spk", "utt2lang", "utt2dur")
    ),
    "lhotse": Corpus("zipperasr.corpora.lhotse_cuts"),
    "huggingface": Corpus("zipperasr.corpora.huggingface", deep_tables=("*.arrow", "*.parquet")),
}
PYTHON = ".py"


def find_corpus(reader: str) -> Corpus:
    """Look up a registered corpus or format; a name that ends in .py is the file of a reader.

    Raises ValueError naming the nearest known corpus.
    """
    if reader.endswith(PYTHON):
        return Corpus(reader)
    if reader not in CORPORA:
        raise ValueError(
            f"unknown corpus {reader!r}; {nearest(reader, list(CORPORA))}; for a reader of your own, write "
            f"{reader}:local/{reader}.py"
        )
    return CORPORA[reader]


def _read_of_file(path: str) -> Reader:
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file; write a reader, read(root, language, split), there")
    spec = spec_from_file_location(Path(path).stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "read"):
        raise ValueError(f"{path}: defines no function read(root, language, split)")
    return module.read


def read_corpus(reader: str, root: str | Path, language: str, splits: str) -> Iterator[Utterance]:
    """Yield the utterances of one split, or of several joined by `+`; an id that is in two splits comes once."""
    read = find_corpus(reader).read
    names = splits.split("+")
    if len(names) == 1:
        yield from read(Path(root), language, splits)
        return
    seen: set[str] = set()
    for split in names:
        for utterance in read(Path(root), language, split):
            if utterance.id not in seen:
                seen.add(utterance.id)
                yield utterance
