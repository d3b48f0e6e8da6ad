"""Read the language embeddings that stage 4 wrote."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from zipperasr.audio.ark import read_vector
from zipperasr.datadir.entry import read_table
from zipperasr.model.tensor_values import check_finite

MODES = ("token", "state")  # kinds of embeddings; embeddings.py describes them


def load_embeddings(directory: str | Path, mode: str, codes: list[str]) -> Tensor:
    """Read embeddings (languages, d_lid) in the order of `codes`. Raises FileNotFoundError or ValueError."""
    scp = Path(directory) / f"lid_{mode}.scp"
    if not scp.is_file():
        raise FileNotFoundError(f"{scp}: no LID embeddings; run stage 4")
    entries = read_table(scp)
    absent = [code for code in codes if code not in entries]
    if absent:
        raise ValueError(f"{scp}: no embedding for {', '.join(absent)}; rerun stage 4 with this language table")
    vectors = [torch.tensor(read_vector(entries[code], f"{scp}: {code}")) for code in codes]
    if len({vector.shape for vector in vectors}) > 1:
        raise ValueError(f"{scp}: embeddings have unequal widths {sorted({len(v) for v in vectors})}; rerun stage 4")
    embeddings = torch.stack(vectors)
    check_finite(embeddings, str(scp))
    return embeddings
