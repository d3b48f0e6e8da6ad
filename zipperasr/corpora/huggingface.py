"""Hugging Face's datasets on disk: directories of `save_to_disk`, and Parquet files as on the hub.

ROOT/[LANGUAGE/]SPLIT, a directory, or ROOT/[LANGUAGE/][data/]SPLIT.parquet or SPLIT-00000-of-0000N.parquet. The audio
column has files {bytes, path} or paths; the other columns have the names of own_data.py. Labels are read by their name.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zipperasr.corpora.audio_tables import (
    ARROW,
    BYTES,
    PARQUET,
    PATH,
    column_of,
    entry_of,
    holds_files,
    located,
    open_table,
)
from zipperasr.corpora.own_data import FIELDS, Format, names_another_language, utterance_of_fields
from zipperasr.corpora.utterance import Utterance, require_directory, require_file

if TYPE_CHECKING:
    import pyarrow as pa

STATE, SPLITS = "state.json", "dataset_dict.json"  # of a Dataset and of a DatasetDict
REMEDY = "save the data set again"
_SPLIT_NAMES = ("train", "validation", "dev", "test")
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]{16})?\.parquet")

Record = dict[str, Any] | ValueError


class DatasetFormat(Format[Record]):
    """Finds the directory or the first file of a split."""

    def find(self, root: Path, language: str, split: str) -> Path:
        require_directory(root, "correct the root in corpora.yaml")
        for folder in (root / language, root):
            if is_dataset(folder / split):
                return folder / split
            for place in (folder, folder / "data"):
                if (path := place / f"{split}{PARQUET}").is_file():
                    return path
                found = sorted(place.glob(f"{escape(split)}-00000-of-*{PARQUET}"))
                if len(found) > 1:
                    raise ValueError(f"{place}: {found[0].name} and {found[1].name}; delete the files of one of them")
                if found:
                    return found[0]
        names = f"{split}/ (with {STATE} or Parquet files), {split}.parquet, {split}-00000-of-*.parquet"
        raise ValueError(
            f"{root}: contains none of {names}, here or in {language}/ or data/; correct the root in corpora.yaml, or "
            "the split"
        )


def is_dataset(path: Path) -> bool:
    """True for a directory of save_to_disk, and for one with Parquet files."""
    return (path / STATE).is_file() or next(path.glob(f"*{PARQUET}"), None) is not None


def shards_of(path: Path) -> list[Path]:
    """All files of a data set, of which `path` is the directory or a file. Raises ValueError if one is missing."""
    if (path / STATE).is_file():
        return [_followed(require_file(path / name, REMEDY)) for name in _files_in_state(path / STATE)]
    if (path / SPLITS).is_file():
        names = sorted(found.parent.name for found in path.glob(f"*/{STATE}"))
        raise ValueError(f"{path}: a DatasetDict with {', '.join(names) or 'no split'}; name the directory of a split")
    if path.is_dir():
        return [_followed(found) for found in _files_of_directory(path)]
    path = _followed(path)
    match = _SHARD.fullmatch(path.name)
    if match is None:
        return [path]
    pattern = f"{escape(match['stem'])}-*-of-{match['count']}*{PARQUET}"
    found = {int(other["number"]): near for near in path.parent.glob(pattern) if (other := _SHARD.fullmatch(near.name))}
    missing = [number for number in range(int(match["count"])) if number not in found]
    if missing:
        raise ValueError(f"{path}: shard {missing[0]:05d} of {match['count']} is missing; download it")
    return [_followed(found[number]) for number in sorted(found)]


def _files_of_directory(folder: Path) -> list[Path]:
    found = sorted(folder.glob(f"*{PARQUET}"))
    if not found:
        raise ValueError(f"{folder}: contains neither wav.scp (Kaldi) nor {STATE} nor Parquet files (Hugging Face)")
    splits = sorted({name for path in found for name in _SPLIT_NAMES if path.name.startswith((f"{name}-", f"{name}."))})
    if len(splits) > 1:
        raise ValueError(f"{folder}: Parquet files of {' and '.join(splits)}; name the first file of one of them")
    return found


def _files_in_state(state: Path) -> list[str]:
    try:
        names = [str(file["filename"]) for file in json.loads(state.read_bytes())["_data_files"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{state}: got no list of files ({error!r}); {REMEDY}") from error
    for name in names:
        if not name.endswith(ARROW):
            raise ValueError(f"{state}: got file {name[:80]!r}, wanted {ARROW}; {REMEDY}")
    return names


def _followed(shard: Path) -> Path:
    """The file to which a link leads, if its name has the suffix; the hub's cache links to names without one."""
    while shard.exists() and shard.is_symlink():
        target = shard.parent / os.readlink(shard)
        if target.suffix != shard.suffix:
            break
        shard = target
    return shard.parent.resolve() / shard.name


def _records(path: Path, language: str | None) -> Iterator[tuple[str, Record]]:
    for shard in map(str, shards_of(path)):
        with located(shard):
            yield from _rows(shard, language)


def _rows(shard: str, language: str | None) -> Iterator[tuple[str, Record]]:
    table = open_table(shard)
    columns = _columns(table.schema, shard)
    labels = {name: found for name in columns if (found := _labels(table.schema, name))}
    row = 0
    for block, holds_audio in table.blocks(columns):
        cells = [_named(values.to_pylist(), labels.get(name)) for name, values in zip(columns, block, strict=True)]
        for values, has_file in zip(zip(*cells, strict=True), holds_audio, strict=True):
            fields: Record = dict(zip(columns, values, strict=True))
            if has_file:
                fields[table.audio] = entry_of(shard, row)
            elif not fields[table.audio]:
                fields = ValueError(f"{shard}: row {row}: no audio, neither {BYTES} nor a {PATH}; remove the row")
            if language is None or isinstance(fields, ValueError) or not names_another_language(fields, language):
                yield f"{shard}: row {row}", fields
            row += 1


def _utterance(fields: Record, where: str, path: Path) -> Utterance:
    if isinstance(fields, ValueError):
        raise fields
    return utterance_of_fields(fields, where, path)


def _columns(schema: pa.Schema, shard: str) -> list[str]:
    """The columns with the fields of own_data.py, of several names for one the first.

    Raises ValueError for a column that is missing or has a type that cannot be used.
    """
    import pyarrow as pa

    found = {field: name for field in FIELDS if (name := column_of(schema, field))}
    for field in ("audio", "text"):
        if field not in found:
            raise ValueError(
                f"{shard}: got columns {schema.names[:12]}, none of which is {' or '.join(FIELDS[field])}; rename one"
            )
    for field, name in found.items():
        kind = schema.field(name).type
        if field == "audio":
            good, wanted = _is_text(kind) or holds_files(kind), f"{{{BYTES}, {PATH}}} or paths; use the feature Audio"
        elif field in ("text", "lang"):
            good, wanted = _is_text(kind) or bool(_labels(schema, name)), "text, or labels with names; convert it"
        else:
            good, wanted = not pa.types.is_nested(kind), "one value in each row; convert it"
        if not good:
            raise ValueError(f"{shard}: column {name!r}: got {str(kind)[:80]}, wanted {wanted}")
    return list(found.values())


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)


def _labels(schema: pa.Schema, column: str) -> dict[int, str] | None:
    """The names of a ClassLabel's values; None for other columns."""
    import pyarrow as pa

    if not pa.types.is_integer(schema.field(column).type):
        return None
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {number: str(name) for number, name in enumerate(features[column]["names"])}
    except (ValueError, KeyError, TypeError, RecursionError):  # written by another program, or an ordinary number
        return None


def _named(values: list[Any], labels: dict[int, str] | None) -> list[Any]:
    """Values with labels replaced by their names; the checks of the fields refuse those without."""
    return values if labels is None else [labels.get(value, value) for value in values]


FORMAT = DatasetFormat((), _records, _utterance)
read = FORMAT.read
