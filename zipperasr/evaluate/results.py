"""Score the texts of each language, and print or write the results.

In: references, hypotheses and times. Out: `LanguageResult` rows, a table, results.json. Counts, intervals and
normalisers are those of stage 8.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from zipperasr.atomic import atomic_path
from zipperasr.corpora.utterance import Utterance
from zipperasr.evaluate.timed import Transcribed
from zipperasr.languages import Language
from zipperasr.plan.columns import aligned
from zipperasr.score.diagnose import Diagnosis
from zipperasr.score.scores_table import SetScore
from zipperasr.score.tally import Tally
from zipperasr.score.test_set import score_utterances
from zipperasr.score.transcripts import TestSet

OWN, WHISPER = "own", "whisper"
NORMALISERS = (OWN, WHISPER)
HEADER = ("language", "unit", "normaliser", "utterances", "units", "rate %", "95 % interval", "empty", "loops", "RTFx")


@dataclass(frozen=True)
class LanguageResult:
    """One language: its score, and the time of its transcription."""

    score: SetScore
    audio_s: float
    transcription_s: float


def score_language(
    name: str,
    language: Language,
    utterances: Mapping[str, Utterance],
    transcribed: Transcribed,
    *,
    normaliser: str,
    codes: Sequence[str],
) -> LanguageResult:
    """Score the utterances that have a text.

    Args:
        name: of the data; the intervals' random draws depend on it.
        utterances: by id.
        normaliser: OWN: that of the language; WHISPER: Whisper's for English, and its basic one for other languages.
        codes: all languages of the model.
    """
    test_set = TestSet(
        name=name,
        phase="",
        corpus=name,
        language=language.code,
        references={utt: utterances[utt].text for utt in transcribed.texts},
        speakers={utt: utterances[utt].speaker for utt in transcribed.texts},
        repeats=dict.fromkeys(transcribed.texts, 1),
    )
    norm = language.normaliser if normaliser == OWN else "whisper_en" if language.code == "en" else "whisper"
    tally = Tally(test_set, language.unit, norm)
    diagnosis = Diagnosis(language.code, codes)
    for block in score_utterances(test_set, transcribed.texts, language.unit, norm, diagnosis):
        tally.add(block)
    return LanguageResult(tally.row(), transcribed.audio_s, transcribed.transcription_s)


def table(results: Sequence[LanguageResult]) -> str:
    """The results as text, with the mean rate and the speed over all languages in the last line."""
    rows: list[tuple[str, ...]] = [
        (
            row.score.language, row.score.unit, row.score.normaliser, str(row.score.utts), str(row.score.ref_units),
            f"{row.score.rate:.2f}", f"{row.score.low:.2f} to {row.score.high:.2f}", str(row.score.empty),
            str(row.score.loops), f"{row.audio_s / row.transcription_s:.2f}",
        )
        for row in results
    ]  # fmt: skip
    sums = [str(sum(getattr(row.score, name) for row in results)) for name in ("utts", "ref_units", "empty", "loops")]
    rows.append(("mean", "", "", *sums[:2], f"{mean_rate(results):.2f}", "", *sums[2:], f"{rtfx(results):.2f}"))
    return aligned([HEADER, *rows], right=range(3, len(HEADER)))


def mean_rate(results: Sequence[LanguageResult]) -> float:
    """Mean error rate of the languages that have reference units, in per cent; nan if none has."""
    rates = [row.score.rate for row in results if row.score.ref_units]
    return fmean(rates) if rates else math.nan


def rtfx(results: Sequence[LanguageResult]) -> float:
    """Seconds of audio per second of transcription, over all languages."""
    return sum(row.audio_s for row in results) / sum(row.transcription_s for row in results)


def write_results(
    path: Path, facts: Mapping[str, object], results: Sequence[LanguageResult], left_out: Sequence[str]
) -> None:
    """Write results.json. facts: what was evaluated and how."""
    tree = {
        **facts,
        "mean_rate": mean_rate(results),
        "rtfx": rtfx(results),
        "languages": [_fields(row) for row in results],
        "num_left_out": len(left_out),
        "left_out": list(left_out),
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(tree), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _fields(row: LanguageResult) -> dict[str, object]:
    """A row without what only stage 8 knows."""
    score = asdict(row.score)
    kept = {name: value for name, value in score.items() if not name.startswith("listed_")}
    for name in ("set", "phase", "corpus", "rtf", "retried"):
        del kept[name]
    return {
        **kept,
        "audio_s": row.audio_s,
        "transcription_s": row.transcription_s,
        "rtfx": row.audio_s / row.transcription_s,
    }


def _without_nan(value: Any) -> Any:
    """`value` with None in place of nan, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
