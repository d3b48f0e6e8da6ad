"""Times of words compared with those of espeak-ng, which spoke the mini test sets.

Output: a table in RESULTS.md: mean and 95th percentile of the absolute shift of starts and ends, by language, for the
reference texts. Run it in the recipe's directory, after `zipperasr train-aligner`. Words without an event of their own
are left out; in Chinese, Japanese and Thai, so are characters inside a spoken word. Dev sets that are taken from
training sets are left out, too: their speech is synthesised in another order.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from record import write_section
from shared_options import add_results

from zipperasr.align.spelling import characters
from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.cli import parser, run_step
from zipperasr.markdown import table
from zipperasr.score.normalise import split_units

NOTE = "Absolute difference from espeak-ng's word events in ms, and its median with the sign; reference texts."
RECIPE = Path(__file__).resolve().parents[1] / "egs2" / "zipper12" / "asr1"
Shifts = dict[str, list[tuple[float, float]]]  # by language: of start and end in seconds; NaN where there is no event


def measure(model_dir: Path, manifest: Path, kind: str, nj: int) -> Shifts:
    """Align the reference texts of all sets of a kind and compare the words with espeak-ng's."""
    sys.path.append(str(RECIPE))
    from local.mini.word_events import time_sets

    truth = {(one.corpus, one.language, "".join(characters(one.written))): one for one in time_sets(kind, nj)}
    # imported here, because the processes that speak import this module
    from zipperasr.align.aligner import Aligner
    from zipperasr.align.speech import encoded
    from zipperasr.batching.manifest import open_kind
    from zipperasr.languages import LanguageTable
    from zipperasr.model.experiment import LANGUAGES
    from zipperasr.model.experiment_model import load_model

    aligner, model = Aligner.load(model_dir), load_model(model_dir).eval()
    languages = LanguageTable.load(model_dir / LANGUAGES)
    shifts: Shifts = defaultdict(list)
    for one in open_kind(manifest, kind):
        corpus = one.name.split("_")[1]
        rows = [one.row(number) for number in range(len(one))]
        for row, example, frames in encoded(model, model_dir, _by_language(rows)):
            code = row["language"]
            words = split_units(row["text"], languages[code].unit)
            times = np.array(aligner.times(frames, words)) + example.start / SAMPLE_RATE
            assert (np.diff(times.flatten()) >= 0).all() and times.max() <= (row["num_samples"] + 320) / SAMPLE_RATE
            spoken = truth.get((corpus, code, "".join(characters(row["text"]))))
            if spoken is None and kind == "test":
                raise ValueError(f"{one.name}: {row['utt_id']}: not a sentence of the mini test sets")
            shifts[code] += [] if spoken is None else _shifts(words, times, spoken)
    return shifts


def _by_language(rows: list[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        found[row["language"]].append(row)
    return found


def _shifts(words: list[str], times: np.ndarray, spoken) -> Iterator[tuple[float, float]]:
    """Compare words that begin, or end, with the same character of the text as a spoken one."""
    places = [len(list(characters(spoken.written[: word.first]))) for word in spoken.words]
    starts = dict(zip(places, (word.start_s for word in spoken.words), strict=True))
    total = len(list(characters(spoken.written)))
    ends = dict(zip([*places[1:], total], (word.end_s for word in spoken.words), strict=True))
    place = 0
    for word, (start_s, end_s) in zip(words, times, strict=True):
        first, place = place, place + len(list(characters(word)))
        yield start_s - starts.get(first, np.nan), end_s - ends.get(place, np.nan)


def report(shifts: Shifts) -> str:
    """A table in milliseconds, by language."""
    everything = [pair for found in shifts.values() for pair in found]
    rows = [[code, *_figures(found)] for code, found in [*sorted(shifts.items()), ("all", everything)]]
    columns = ["language", "words", "starts: mean", "95 %", "median shift", "ends: mean", "95 %", "median shift"]
    return table(columns, rows)


def _figures(found: list[tuple[float, float]]) -> list[str]:
    shifts = 1000 * np.array(found).T
    cells = [str(int((~np.isnan(shifts[0])).sum()))]
    for side in shifts:
        known = side[~np.isnan(side)]
        numbers = (np.abs(known).mean(), np.percentile(np.abs(known), 95), np.median(known))
        cells += [str(round(number)) for number in numbers]
    return cells


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--model", type=Path, required=True, help="training directory with an aligner")
    options.add_argument("--manifest", type=Path, default=Path("dump/manifest"), help="manifests of stage 3")
    options.add_argument("--kind", choices=("test", "dev"), default="test", help="sets to measure")
    options.add_argument("--nj", type=int, default=2, help="processes for synthesis")
    add_results(options)

    def step(given: argparse.Namespace) -> None:
        body = report(measure(given.model, given.manifest, given.kind, given.nj))
        print(body)
        if given.results:
            write_section(f"Word times, {given.kind} sets", f"{NOTE}\n\n{body}", given.results)

    return run_step(step, options.parse_args(argv), "word_times")


if __name__ == "__main__":
    sys.exit(main())
