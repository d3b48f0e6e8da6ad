"""scores.tsv: one row per test set, unit and normaliser of a decoding.

In/out: `SetScore` rows. Rates are in per cent with six digits; `listed_` columns count an utterance as often as the
authors' list contains it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from zipperasr.atomic import atomic_path

COLUMNS = (
    *(
        "set",
        "phase",
        "corpus",
        "language",
        "unit",
        "normaliser",
        "utts",
        "ref_units",
        "errors",
        "sub",
        "del",
        "ins",
        "rate",
    ),
    *("jiwer_errors", "empty", "emptied_refs", "listed_utts", "listed_ref_units", "listed_errors", "listed_rate"),
    *("low", "high", "resampled_by", "speakers"),
    *("loops", "bursts", "language_errors", "chat_replies", "rtf", "retried"),
)


@dataclass(frozen=True)
class SetScore:
    """Fields in the order of COLUMNS."""

    set: str
    phase: str  # align: source domain | sft: target domain
    corpus: str
    language: str
    unit: str  # wer | cer
    normaliser: str
    utts: int
    ref_units: int
    errors: int
    substitutions: int
    deletions: int
    insertions: int
    rate: float  # per cent
    jiwer_errors: int  # least number of edits, by jiwer
    empty: int  # hypotheses empty after normalisation
    emptied_refs: int  # references that normalisation emptied
    listed_utts: int
    listed_ref_units: int
    listed_errors: int
    listed_rate: float  # per cent
    low: float  # 95 % interval of `rate`, per cent
    high: float
    resampled_by: str  # utterance | speaker: what the interval is over
    speakers: int
    loops: int  # hypotheses with these flags of zipperasr.score.diagnose
    bursts: int
    language_errors: int  # another script or language than asked
    chat_replies: int
    rtf: float = math.nan  # real-time factor of the decoding
    retried: int = 0  # utterances decoded again because of a loop (retry_loops)


def write_scores(path: Path, rows: Sequence[SetScore]) -> None:
    """Write the table with its header line."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.write("\t".join(COLUMNS) + "\n")
        for row in rows:
            stream.write("\t".join(_cell(value) for value in astuple(row)) + "\n")


def read_scores(path: Path) -> list[SetScore]:
    """Read the table back. Raises ValueError with file and line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or tuple(lines[0].split("\t")) != COLUMNS:
        raise ValueError(f"{path}:1: got columns {lines[:1]}, wanted {' '.join(COLUMNS)}; rerun stage 8")
    kinds = SetScore.__annotations__.values()
    rows = []
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) != len(COLUMNS):
            raise ValueError(f"{path}:{number}: got {len(cells)} cells, wanted {len(COLUMNS)}; rerun stage 8")
        convert = {"str": str, "int": int, "float": float}
        try:
            rows.append(SetScore(*(convert[kind](cell) for kind, cell in zip(kinds, cells, strict=True))))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}; rerun stage 8") from error
    return rows


def _cell(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
