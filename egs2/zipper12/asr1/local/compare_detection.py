"""Measure the cost of not knowing the language: given, detected, or mixed by probability, on the test sets.

In: a finished recipe (its model, dump/raw). Out: a table with, per test set, how often Whisper detects the language,
and the error rates with the language given, with the most probable one, and with adapters mixed by probability.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from zipperasr.atomic import atomic_path
from zipperasr.cli import log, parser, run_step
from zipperasr.datadir.set_table import read_sets
from zipperasr.languages import LanguageTable
from zipperasr.markdown import percent, table
from zipperasr.report.machine import machine_table
from zipperasr.score.diagnose import Diagnosis
from zipperasr.score.test_set import Counts, score_utterances
from zipperasr.score.transcripts import TestSet, load_test_set
from zipperasr.transcribe.defaults import AUTO, DEFAULTS
from zipperasr.transcribe.sources import find_recordings
from zipperasr.transcribe.transcriber import Transcriber

WAYS = ("given", "likeliest", "mixed")


def compare(transcriber: Transcriber, test_set: TestSet, scp: Path, table: LanguageTable) -> dict[str, float]:
    """Return error rates in per cent by way, seconds as `<way> s`, and how often the language was `found`."""
    language = table[test_set.language]
    result: dict[str, float] = {}
    for way in WAYS:
        transcriber.soft = way == "mixed"
        asked = test_set.language if way == "given" else AUTO
        start = time.monotonic()
        found = dict(_transcripts(transcriber, scp, asked))
        result[f"{way} s"] = time.monotonic() - start
        hypotheses = {utt: found[utt].text for utt in test_set.references}
        counts = Counts()
        diagnosis = Diagnosis(test_set.language, table.codes)
        for block in score_utterances(test_set, hypotheses, language.unit, language.normaliser, diagnosis):
            for utterance in block:
                counts.add(utterance)
        result[way] = counts.rate
        if way == "likeliest":
            right = sum(transcript.lang == test_set.language for transcript in found.values())
            result["found"] = 100 * right / len(found)
    return result


def _transcripts(transcriber: Transcriber, scp: Path, lang: str) -> Iterator:
    for recording, transcript in transcriber.transcribe(find_recordings([str(scp)]), lang):
        if isinstance(transcript, Exception):
            raise transcript
        yield recording.id, transcript


def write_page(
    out: Path, model: Path, raw: Path, languages: LanguageTable, names: Sequence[str] | None, tokens_per_s: float
) -> None:
    """Compare the ways on the test sets `names` (None: all) and write the page."""
    config = replace(DEFAULTS, tokens_per_s=tokens_per_s, batch_size=32)
    transcriber = Transcriber.from_pretrained(model, config=config)
    sets = [row for row in read_sets(raw / "sets.tsv") if row.kind == "test"]
    chosen = [row for row in sets if names is None or row.set in names]
    rows, results = [], []
    for row in tqdm(chosen, unit="set"):
        test_set = load_test_set(raw, row)
        found = compare(transcriber, test_set, raw / row.set / "wav.scp", languages)
        results.append(found)
        unit = languages[row.language].unit.upper()
        rows.append([row.set, unit, str(len(test_set.references)), *(percent(found[key]) for key in ("found", *WAYS))])
    mean = {key: sum(found[key] for found in results) / len(results) for key in results[0]}
    rows.append(["mean", "", "", *(percent(mean[key]) for key in ("found", *WAYS))])
    header = ["test set", "unit", "utts", "language found, %", "given, %", "likeliest, %", "mixed, %"]
    cost = transcriber.detector.cost
    page = (
        "# Unknown language\n\nError rates of "
        f"`{model.name}` with the language given; with the most probable language by the original Whisper; with that "
        "language's prompt, but LID embeddings and banks mixed by probability. Repetition loops are decoded again."
        "\n\n"
        f"{table(header, rows, 2)}\n\n{cost.described()[:1].upper()}{cost.described()[1:]}. Total time in seconds: "
        + ", ".join(f"{way} {sum(found[f'{way} s'] for found in results):.0f}" for way in WAYS)
        + f".\n\n`{' '.join(['python -m local.compare_detection', *sys.argv[1:]])}`\n\n{machine_table()}\n"
    )
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    log(f"written: {out}")


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--model", type=Path, default=Path("exp/sft_zipper_soft_chunked"), help="training directory")
    options.add_argument("--raw", type=Path, default=Path("dump/raw"), help="data directories of stage 2")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="table of languages")
    options.add_argument("--out", type=Path, default=Path("results/mini/DETECTION.md"), help="output page")
    options.add_argument("--sets", nargs="*", default=None, help="test sets; default: all")
    options.add_argument("--tokens_per_s", type=float, default=25.0, help="longest hypothesis, in tokens per second")

    def step(given: argparse.Namespace) -> None:
        languages = LanguageTable.load(given.languages)
        write_page(given.out, given.model, given.raw, languages, given.sets, given.tokens_per_s)

    return run_step(step, options.parse_args(argv), "local.compare_detection")


if __name__ == "__main__":
    sys.exit(main())
