"""Plan the mini corpora: the sentences of every official split, before any audio exists.

In: conf/mini/mini_corpora.yaml and conf/datasets.tsv. Out: `Part`s, and the texts to exclude from pretraining. A
language's test sentences are drawn first, then dev, then train: more training sentences do not change the test sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from local.mini.acoustics import Acoustics
from local.mini.layouts import LAYOUTS
from local.mini.texts import Sentence, make_sentences
from zipperasr.config import load_yaml
from zipperasr.languages import LanguageTable
from zipperasr.prepare.dataset_table import HELD_OUT, NO_DEV, SETTINGS, DatasetRow, load_datasets

CONFIG = "conf/mini/mini_corpora.yaml"
DATASETS, LANGUAGES = "conf/datasets.tsv", "conf/languages.tsv"
KINDS = ("test", "dev", "train")  # the order in which sentences are drawn


@dataclass(frozen=True)
class MiniConfig:
    """Sizes and acoustics of the mini corpora; conf/mini/mini_corpora.yaml explains each."""

    align_train: int
    high_train: int
    low_train_1h: int
    low_train_30h: int
    dev: int
    test: int
    repeats: int
    speaker_utts: int
    seed: int
    acoustics: Acoustics = field(default_factory=Acoustics)


@dataclass(frozen=True)
class Part:
    """The utterances of one kind in one official split."""

    corpus: str
    language: str
    split: str  # as on disk
    kind: str  # train | dev | test; decides which voices speak
    sentences: tuple[Sentence, ...]


def load_plan(
    config: str | Path = CONFIG,
    datasets: str | Path = "conf/datasets.tsv",
    languages: str | Path = "conf/languages.tsv",
) -> tuple[MiniConfig, dict[str, list[DatasetRow]], list[Part]]:
    """Return the configuration, the rows of each setting, and the parts of all corpora."""
    sizes, rows = load_rows(config, datasets, languages)
    return sizes, rows, list(_parts(sizes, rows))


def load_rows(
    config: str | Path, datasets: str | Path, languages: str | Path
) -> tuple[MiniConfig, dict[str, list[DatasetRow]]]:
    """Return the configuration and, by setting, the rows of corpora in LAYOUTS; users provide the others."""
    table = LanguageTable.load(languages)
    rows = {setting: load_datasets(datasets, setting, table) for setting in SETTINGS}
    made = {setting: [row for row in rows[setting] if row.corpus in LAYOUTS] for setting in SETTINGS}
    return load_yaml(MiniConfig, config), made


def held_out_texts(
    config: str | Path = CONFIG,
    datasets: str | Path = "conf/datasets.tsv",
    languages: str | Path = "conf/languages.tsv",
) -> dict[str, set[str]]:
    """Return language -> the test and dev sentences of all mini corpora, to exclude from pretraining."""
    texts: dict[str, set[str]] = {}
    for part in load_plan(config, datasets, languages)[2]:
        if part.kind != "train":
            texts.setdefault(part.language, set()).update(sentence.written for sentence in part.sentences)
    return texts


def train_count(sizes: MiniConfig, row: DatasetRow, setting: str, rows: dict[str, list[DatasetRow]]) -> int:
    """Return the size of a row's training set; low-resource languages have at most 1 h in the 1h setting."""
    if row.phase == "align":
        return sizes.align_train
    low = {r.language for r in rows["1h"] if r.phase == "sft" and r.train_hours is not None and r.train_hours <= 1}
    if row.language not in low:
        return sizes.high_train
    return sizes.low_train_1h if setting == "1h" else sizes.low_train_30h


def _parts(sizes: MiniConfig, rows: dict[str, list[DatasetRow]]) -> Iterator[Part]:
    counts = _counts(sizes, rows)
    totals = Counter()
    for (_, language, _, _), count in counts.items():
        totals[language] += count
    sentences = {
        language: iter(make_sentences(language, total, sizes.seed, "recipe")) for language, total in totals.items()
    }
    for kind in KINDS:
        for (corpus, language, split, part_kind), count in counts.items():
            if part_kind == kind and count:
                chosen = tuple(next(sentences[language]) for _ in range(count))
                yield Part(corpus, language, split, kind, chosen)


def _counts(sizes: MiniConfig, rows: dict[str, list[DatasetRow]]) -> dict[tuple[str, str, str, str], int]:
    """Return (corpus, language, split, kind) -> utterances; the larger count if both settings have it."""
    counts: dict[tuple[str, str, str, str], int] = {}
    for setting, setting_rows in rows.items():
        for row in setting_rows:
            key = (row.corpus, row.language)
            for split in row.test_splits:
                counts[(*key, split, "test")] = sizes.test
            dev_splits = [] if row.dev_split in (HELD_OUT, NO_DEV) else row.dev_split.split("+")
            for split in dev_splits:
                counts[(*key, split, "dev")] = -(-sizes.dev // len(dev_splits))
            count = train_count(sizes, row, setting, rows)
            for split, share in LAYOUTS[row.corpus].train_shares(row.train_split).items():
                old = counts.get((*key, split, "train"), 0)
                counts[(*key, split, "train")] = max(old, round(count * share))
    return counts
