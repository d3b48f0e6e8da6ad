"""List the corpora, utterance lists and weights that the recipe needs, and where to get those that are missing.

In: the tables, the corpora's roots, the two backbones. Out: one `Item` per corpus, list and backbone. Nothing is
downloaded. A split is present if its first utterance can be read and its audio file exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from zipperasr.audio.ark import split_entry
from zipperasr.corpora import read_corpus
from zipperasr.languages import LanguageTable
from zipperasr.plan.columns import aligned
from zipperasr.prepare.dataset_table import (
    HELD_OUT,
    NO_DEV,
    NO_TRAIN,
    SETTINGS,
    CorporaConfig,
    load_corpora,
    load_datasets,
)

HEADER = ("kind", "name", "state", "place or remedy")
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


@dataclass(frozen=True)
class Item:
    """One input of the recipe."""

    kind: str  # corpus | list | weights
    name: str
    state: str  # present | missing | missing, will be sampled
    place: str  # where it is, or where to get it

    @property
    def blocks(self) -> bool:
        return self.state == "missing"


def take_inventory(
    datasets: str | Path, languages: str | Path, corpora: str | Path, weights: list[str], setting: str | None = None
) -> list[Item]:
    """All items, corpora first. setting: 1h or 30h; None: both."""
    table = LanguageTable.load(languages)
    config = load_corpora(corpora)
    rows = [row for name in SETTINGS if setting in (None, name) for row in load_datasets(datasets, name, table)]
    splits: dict[tuple[str, str, str], dict[str, None]] = {}  # (corpus, reader, language) -> ordered set
    lists = {}
    for row in rows:
        dev = [] if row.dev_split in (HELD_OUT, NO_DEV) else row.dev_split.split("+")
        train = [] if row.train_split == NO_TRAIN else row.train_split.split("+")
        names = dict.fromkeys([*train, *dev, *row.test_splits])
        splits.setdefault((row.corpus, row.reader, row.language), {}).update(names)
        lists |= {name: Path(config.utt_ids) / name for name in (row.train_list, row.test_list) if name}
    return [
        *(_corpus(*key, list(names), config.root_of(key[0], corpora)) for key, names in splits.items()),
        *(_list(name, path, config) for name, path in lists.items()),
        *(_weights(name) for name in weights),
    ]


def format_inventory(items: list[Item]) -> str:
    """An aligned table with one item per line."""
    return aligned([HEADER, *(astuple(item) for item in items)])


def check_inventory(
    datasets: str | Path, languages: str | Path, corpora: str | Path, weights: list[str], setting: str | None = None
) -> None:
    """Print the table. Raises ValueError if an item that the recipe requires is missing."""
    items = take_inventory(datasets, languages, corpora, weights, setting)
    print(format_inventory(items))
    blocking = [item for item in items if item.blocks]
    if blocking:
        raise ValueError(
            f"{len(blocking)} of {len(items)} items are missing (first: {blocking[0].kind} {blocking[0].name}); the "
            f"table says where to get each; {corpora} sets the paths of corpora, model.yaml those of weights"
        )


def _corpus(corpus: str, reader: str, language: str, splits: list[str], root: Path) -> Item:
    problems = {split: problem for split in splits if (problem := _problem(reader, language, split, root))}
    name = f"{corpus} {language}"
    if not problems:
        return Item("corpus", name, "present", f"{root} ({', '.join(splits)})")
    if len(problems) == len(splits):
        return Item("corpus", name, "missing", next(iter(problems.values())))
    return Item("corpus", f"{name}: {', '.join(problems)}", "missing", next(iter(problems.values())))


def _problem(reader: str, language: str, split: str, root: Path) -> str | None:
    try:
        first = next(iter(read_corpus(reader, root, language, split)), None)
    except ValueError as error:
        return str(error)
    if first is not None and not Path(split_entry(first.audio)[0]).is_file():
        return f"{first.audio}: no such audio file; unpack the audio of the corpus"
    return None


def _list(name: str, path: Path, config: CorporaConfig) -> Item:
    if path.is_file():
        return Item("list", name, "present", str(path))
    remedy = f"local/fetch_utt_ids.sh {config.utt_ids}"
    return Item("list", name, "missing, will be sampled", remedy)


def _weights(name: str) -> Item:
    """A backbone: a directory written by `save_pretrained`, or a hub id in the local cache."""
    folder = Path(name)
    try:
        found = [path for path in _weight_paths(name) if path.is_file()]
    except HFValidationError:
        return Item("weights", name, "missing", f"{name}: no such directory; correct the path in model.yaml")
    if found:
        return Item("weights", name, "present", str(found[0].parent))
    if folder.is_dir():
        return Item("weights", name, "missing", f"{folder}: none of {', '.join(WEIGHT_FILES)}; download it again")
    return Item("weights", name, "missing", f"hf download {name} (or give a local directory)")


def _weight_paths(name: str) -> Iterator[Path]:
    """Possible paths of the weights. Raises HFValidationError if `name` is neither a directory nor a valid hub id."""
    if Path(name).is_dir():
        yield from (Path(name) / file for file in WEIGHT_FILES)
        return
    for file in WEIGHT_FILES:
        cached = try_to_load_from_cache(name, file)
        if isinstance(cached, str):
            yield Path(cached)
