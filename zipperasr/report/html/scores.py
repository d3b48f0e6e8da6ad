"""The score table of the page: systems, test sets by unit and normaliser, error rates with intervals.

In: decodings with their scores, score.json. Out: plain values for the page's index. Intervals are those of score.json;
a score of an older version may have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from zipperasr.languages import LanguageTable
from zipperasr.report.collect import Decoding
from zipperasr.report.read_files import read_json
from zipperasr.score.scores_table import SetScore

Way = tuple[str, str, str]  # test set, unit, normaliser


def way(score: SetScore) -> Way:
    return score.set, score.unit, score.normaliser


def score_dir(decoding: Decoding, score: SetScore) -> Path:
    """The directory of this score."""
    marks = "_whisper_marks" if score.normaliser == "whisper_marks" else ""
    return decoding.directory / score.set / f"score_{score.unit}{marks}"


def systems(decodings: Sequence[Decoding]) -> list[dict[str, str]]:
    """Row labels: one per decoding."""
    return [
        {
            "name": decoding.model.title,
            "detail": " · ".join(word for word in (decoding.regime, decoding.search) if word),
            "path": f"{decoding.model.directory.name}/{decoding.directory.name}",
        }
        for decoding in decodings
    ]


def columns(decodings: Sequence[Decoding], languages: LanguageTable) -> dict[Way, dict[str, Any]]:
    """Columns: test sets by unit and normaliser, in the language table's order, without those that `repeated` finds."""
    found = {way(score): score for decoding in decodings for score in decoding.scores}
    found = {key: score for key, score in found.items() if key not in repeated(decodings)}
    place = {code: number for number, code in enumerate(languages.codes)}
    ordered = sorted(found.values(), key=lambda s: (place.get(s.language, len(place)), s.set, s.unit, s.normaliser))
    return {way(score): _column(score, languages) for score in ordered}


def repeated(decodings: Sequence[Decoding]) -> dict[Way, Way]:
    """{way: an earlier way that gives the same counts for the same test set in every decoding}."""
    counts: dict[Way, dict[Path, tuple[int, ...]]] = {}
    for decoding in decodings:
        for s in decoding.scores:
            of_score = (s.ref_units, s.substitutions, s.deletions, s.insertions)
            counts.setdefault(way(s), {})[decoding.directory] = of_score
    ways = sorted(counts)
    return {
        two: one
        for place, one in enumerate(ways)
        for two in ways[place + 1 :]
        if one[:2] == two[:2] and counts[one] == counts[two]
    }


def _column(score: SetScore, languages: LanguageTable) -> dict[str, Any]:
    return {
        "set": score.set,
        "language": score.language,
        "name": languages[score.language].name if score.language in languages else score.language,
        "label": " ".join(word for word in score.set.split("_") if word not in ("test", score.language)),
        "unit": score.unit,
        "normaliser": score.normaliser,
    }


def cell(decoding: Decoding, score: SetScore) -> dict[str, Any]:
    """One score. Raises FileNotFoundError if it has no score.json."""
    path = score_dir(decoding, score) / "score.json"
    record = read_json(path)
    if record is None:
        raise FileNotFoundError(f"{path}: no such file; rerun stage 8")
    counts = {"utts": score.utts, "units": score.ref_units, "errors": score.errors, "empty": score.empty}
    kinds = {"sub": score.substitutions, "del": score.deletions, "ins": score.insertions}
    interval = [_number(record.get(end), f"{path}: {end!r}") for end in ("low", "high")]
    return {
        **counts,
        **kinds,
        "rate": _number(score.rate, f"{path}: 'rate'"),
        "interval": None if None in interval else interval,
        "resampled_by": record.get("resampled_by"),
    }


def _number(value: Any, where: str) -> float | None:
    """None instead of nan, which JSON lacks and which is the rate of a set without reference units."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where} is {value!r}, wanted a number; rerun stage 8")
    return round(float(value), 4) if isfinite(value) else None
