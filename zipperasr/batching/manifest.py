"""The manifest: one memory-mapped table per data set, with everything that packing and loading need.

In: dump/manifest of stage 3. Out: columns as arrays, single rows as dictionaries. Loader workers share the mapped pages
instead of holding copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.datadir.set_table import read_sets

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("utt_id", "language", "audio", "text")]
    + [("num_samples", pa.int64())]
    + [(name, pa.int32()) for name in ("num_tokens", "repeat", "positions")]
)


@dataclass(frozen=True)
class Manifest:
    """One data set. Columns: utt_id, language, audio, text, num_samples, num_tokens, repeat, positions.

    num_tokens counts the transcript with its end token; positions adds prompt and speech. A row of a training set may
    be a composed clip (compose.py); its audio is then an entry of zipperasr/audio/clips.py.
    """

    name: str
    table: pa.Table

    @classmethod
    def open(cls, directory: str | Path, name: str) -> Manifest:
        """Map `<directory>/<name>.arrow`. Raises FileNotFoundError if stage 3 has not written it."""
        path = Path(directory) / f"{name}.arrow"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no manifest; run stage 3")
        return cls(name, feather.read_table(path, memory_map=True))

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def num_samples(self) -> np.ndarray:
        return self.table["num_samples"].to_numpy()

    @cached_property
    def num_tokens(self) -> np.ndarray:
        return self.table["num_tokens"].to_numpy()

    @cached_property
    def positions(self) -> np.ndarray:
        return self.table["positions"].to_numpy()

    @cached_property
    def repeat(self) -> np.ndarray:
        return self.table["repeat"].to_numpy()

    @cached_property
    def language_codes(self) -> tuple[list[str], np.ndarray]:
        """The set's languages, and for each row the index of its language."""
        column = self.table["language"].combine_chunks().dictionary_encode()
        return column.dictionary.to_pylist(), column.indices.to_numpy()

    @property
    def languages(self) -> np.ndarray:
        """(rows,) of str; for small sets only, because it is slow."""
        return self.table["language"].to_numpy()

    def row(self, index: int) -> dict:
        """Return utterance `index` as a dictionary of its columns."""
        return {name: column[index].as_py() for name, column in zip(self.table.column_names, self.table, strict=True)}


def longest_clips_s(manifests: Sequence[Manifest], max_positions: int) -> float:
    """Return the length in seconds that 1 % of the rows reach, of those that fit into a pack.

    A single long utterance among many short ones does not teach a model that length.
    """
    lengths = np.concatenate([manifest.num_samples[manifest.positions <= max_positions] for manifest in manifests])
    return round(float(np.quantile(lengths, 0.99, method="higher")) / SAMPLE_RATE, 2) if len(lengths) else 0.0


def open_kind(directory: str | Path, kind: str, phase: str | None = None) -> list[Manifest]:
    """Open the manifests of all sets of a kind (train, dev, test), of one phase or of both."""
    rows = [row for row in read_sets(Path(directory) / "sets.tsv") if row.kind == kind]
    rows = [row for row in rows if phase is None or row.is_in(phase)]
    if not rows:
        raise ValueError(f"{directory}/sets.tsv: no {kind} set of phase {phase}; run stages 1 to 3")
    return [Manifest.open(directory, row.set) for row in rows]
