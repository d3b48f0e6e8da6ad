"""Read stage 8's audit.jsonl one utterance at a time.

In: audit.jsonl. Out: `Audited` rows with consistent counts; units are joined with spaces, at which the page splits them
again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from zipperasr.text_lines import check_id, check_text, numbered_lines

REMEDY = "rerun stage 8"
_KINDS = {"id": str, "speaker": str, "repeat": int, "raw_reference": str, "raw_hypothesis": str}
_KINDS |= {"reference": list, "hypothesis": list, "operations": str}


class Audited(NamedTuple):
    """One scored utterance."""

    id: str
    speaker: str
    repeat: int
    raw_reference: str
    raw_hypothesis: str
    reference: str  # units, joined
    hypothesis: str
    operations: str  # C S D I
    flags: list[str] | None  # names from zipperasr.score.diagnose; None if an older stage 8 wrote none

    @property
    def num_errors(self) -> int:
        return len(self.operations) - self.operations.count("C")


def read_audit(path: Path) -> Iterator[Audited]:
    """Yield rows in the file's order. Raises FileNotFoundError, or ValueError with file and line."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {REMEDY}")
    for number, line in numbered_lines(path):
        yield _row(line, f"{path}:{number}")


def _row(line: str, where: str) -> Audited:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not a JSON object ({error.msg}); {REMEDY}") from error
    _check_kinds(record, where)
    utt = check_id(record["id"], where)
    for side in ("speaker", "raw_reference", "raw_hypothesis"):
        check_text(record[side], f"{where}: {utt}")
    ops = record["operations"]
    if odd := set(ops) - set("CSDI"):
        raise ValueError(f"{where}: {utt}: got operations {''.join(sorted(odd))!r}, wanted C, S, D, I; {REMEDY}")
    reference = _joined(record["reference"], len(ops) - ops.count("I"), f"{where}: {utt}: reference")
    hypothesis = _joined(record["hypothesis"], len(ops) - ops.count("D"), f"{where}: {utt}: hypothesis")
    raw = record["raw_reference"], record["raw_hypothesis"]
    return Audited(utt, record["speaker"], record["repeat"], *raw, reference, hypothesis, ops, record.get("flags"))


def _check_kinds(record: Any, where: str) -> None:
    if not isinstance(record, dict):
        raise ValueError(f"{where}: got {type(record).__name__}, wanted a JSON object; {REMEDY}")
    for name, kind in _KINDS.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"{where}: {name!r} is {record.get(name)!r:.40}, wanted {kind.__name__}; {REMEDY}")
    flags = record.get("flags", [])
    if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
        raise ValueError(f"{where}: 'flags' is {flags!r:.40}, wanted a list of names; {REMEDY}")


def _joined(units: list, wanted: int, where: str) -> str:
    """Units as one string that splits into the same units again."""
    if len(units) != wanted:
        raise ValueError(f"{where}: got {len(units)} units, wanted {wanted} as the operations say; {REMEDY}")
    try:
        text = " ".join(units)
    except TypeError as error:
        raise ValueError(f"{where}: {error}; {REMEDY}") from error
    split = text.count(" ") + 1 if units else 0
    if split != wanted or "" in units:
        raise ValueError(f"{where}: {wanted} units join to {split}; empty units, or units with blanks; {REMEDY}")
    return check_text(text, where)
