"""What each data set is built from (`Wanted`), and what was found (`SetReport`).

In: the authors' utterance lists (one id per line, possibly repeated or unknown), or hours to sample if a list is not
available. Out: `Wanted`, and one line of data/report.tsv per set.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from zipperasr.text_lines import NOT_IN_ID, check_id, numbered_lines


@dataclass(frozen=True)
class Wanted:
    """What a set takes from an official split: the ids of a list, a number of hours, or everything."""

    source: str  # the list's path, "sample" or "all", for the report
    counts: Counter[str] | None = None  # id -> how often the list names it
    hours: float | None = None  # to sample
    table_hours: float | None = None  # hours in Table I, for the report


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
    """Count the ids of a list, one per line. Raises ValueError with file and line."""
    path = Path(path)
    counts = Counter(line.strip() for _, line in numbered_lines(path))
    if NOT_IN_ID.search("".join(counts)) or not counts.keys().isdisjoint({".", ".."}):
        for number, line in numbered_lines(path):
            check_id(line.strip(), f"{path}:{number}")
    if not counts:
        raise ValueError(f"{path}: the list is empty; fetch it again with local/fetch_utt_ids.sh")
    return counts


def want(list_name: str | None, utt_ids: str | Path, hours: float | None, table_hours_apply: bool) -> Wanted:
    """Use the list if its file exists; else sample the table's hours if they apply; else take everything."""
    path = Path(utt_ids) / list_name if list_name else None
    if path is not None and path.is_file():
        return Wanted(str(path), counts=read_list(path), table_hours=hours if table_hours_apply else None)
    if table_hours_apply and hours is not None:
        return Wanted(f"sample (no {path})" if path else "sample", hours=hours, table_hours=hours)
    return Wanted(f"all (no {path})" if path else "all")


def write_report(path: Path, reports: list[SetReport]) -> None:
    """Write the table, one line per set."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write("\t".join(field.name for field in fields(SetReport)) + "\n")
        for report in reports:
            cells = (f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in astuple(report))
            stream.write("\t".join(cells) + "\n")
