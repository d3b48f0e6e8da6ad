"""Utterance lists: what a set shall hold, and what became of it.

In: the authors' lists (one id a line; multisets, with flaws), or hours to sample where no list is at hand. Out:
`Wanted` and, per set, one line of data/report.tsv. Sampling takes the ids whose hash is smallest: no order, no
state, and the same choice whatever else is read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from zipperasr.corpora.utterance import NOT_IN_ID, check_id, numbered_lines


@dataclass(frozen=True)
class Wanted:
    """What a set takes from its official split: the ids of a list, some hours, or everything."""

    source: str  # the list's path, "sample" or "all", for the report
    counts: Counter[str] | None = None  # id -> how often the list names it
    hours: float | None = None  # to sample
    table_hours: float | None = None  # what Table I says, for the report


@dataclass
class SetReport:
    """One line of report.tsv."""

    set: str
    source: str
    lines: int = 0  # of the list
    unique_ids: int = 0
    repeats: int = 0  # lines beyond the first of an id
    overlap: int = 0  # train ids dropped because they are in a test set
    missing: int = 0  # on the list but not in the corpus, or without audio
    empty_text: int = 0  # dropped
    utterances: int = 0
    hours: float = 0.0
    hours_with_repeats: float = 0.0
    table_hours: str = "-"
    note: str = ""


def read_list(path: str | Path) -> Counter[str]:
    """Count the ids of a list, one a line. Raises ValueError with file and line."""
    path = Path(path)
    counts = Counter(line.strip() for _, line in numbered_lines(path))
    if NOT_IN_ID.search("".join(counts)) or not counts.keys().isdisjoint({".", ".."}):
        for number, line in numbered_lines(path):
            check_id(line.strip(), f"{path}:{number}")
    if not counts:
        raise ValueError(f"{path}: the list is empty; fetch it again with local/fetch_utt_ids.sh")
    return counts


def want(list_name: str | None, utt_ids: str | Path, hours: float | None, table_hours_apply: bool) -> Wanted:
    """Follow the list if it is at hand; otherwise sample the table's hours where they apply; otherwise take all."""
    path = Path(utt_ids) / list_name if list_name else None
    if path is not None and path.is_file():
        return Wanted(str(path), counts=read_list(path), table_hours=hours if table_hours_apply else None)
    if table_hours_apply and hours is not None:
        return Wanted(f"sample (no {path})" if path else "sample", hours=hours, table_hours=hours)
    return Wanted(f"all (no {path})" if path else "all")


def hash_of(utt_id: str, seed: int) -> int:
    """A uniform 64-bit number from seed and id."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {utt_id}".encode(), digest_size=8).digest(), "big")


def threshold_for_hours(hashes: Iterable[int], durations_s: Iterable[float], hours: float) -> int:
    """The largest hash to take so that those up to it last `hours`; all of them if there is less."""
    hashes = np.fromiter(hashes, dtype=np.uint64)
    durations_s = np.fromiter(durations_s, dtype=np.float64)
    order = np.argsort(hashes, kind="stable")
    enough = np.searchsorted(np.cumsum(durations_s[order]), hours * 3600)
    return int(hashes[order[min(enough, len(order) - 1)]]) if len(order) else 0


def write_report(path: Path, reports: list[SetReport]) -> None:
    """Write the table, one set a line."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write("\t".join(field.name for field in fields(SetReport)) + "\n")
        for report in reports:
            cells = (f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in astuple(report))
            stream.write("\t".join(cells) + "\n")
