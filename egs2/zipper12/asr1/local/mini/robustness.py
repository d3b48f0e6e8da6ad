"""Measure error rates on recordings that are not like the training utterances: with silence, and joined.

In: a trained model, dump/raw. Out: a table by language: test utterances alone, with 1 s of digital silence or noise
before and after, and joined to 6, 13 and 25 s with pauses, all through `Transcriber`, language given. The same words
are transcribed each time.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from zipperasr.atomic import atomic_path
from zipperasr.audio.load import SAMPLE_RATE, load_audio
from zipperasr.cli import log, parser, run_step
from zipperasr.datadir.entry import read_table
from zipperasr.datadir.set_table import SetRow, read_sets
from zipperasr.languages import LanguageTable
from zipperasr.markdown import percent, table
from zipperasr.report.groups import load_groups
from zipperasr.report.machine import machine_table
from zipperasr.score.diagnose import Diagnosis
from zipperasr.score.test_set import Counts, score_utterances
from zipperasr.score.transcripts import TestSet, load_test_set
from zipperasr.spacing import join_texts
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.transcriber import DEFAULTS, Transcriber

PAUSE_S = (0.3, 0.8)
EDGE_S = 1.0
NOISE_DB = -55.0  # of full scale


class Spoken(NamedTuple):
    """A recording and what is said in it."""

    samples: np.ndarray
    text: str


@dataclass(frozen=True)
class Settings:
    """The options of the command; see `main`."""

    exp: Path
    raw: Path
    languages: Path
    datasets: Path
    out: Path
    utts: int | None
    tokens_per_s: float


def alone(clips: Sequence[Spoken], _: random.Random) -> list[Spoken]:
    return list(clips)


def with_edges(clips: Sequence[Spoken], rng: random.Random, level: float) -> list[Spoken]:
    """Each clip between `EDGE_S` of white noise with this standard deviation; 0: digital silence."""
    noise = np.random.default_rng(rng.getrandbits(32))
    edges = [noise.normal(0, level, (2, int(EDGE_S * SAMPLE_RATE))).astype(np.float32) for _ in clips]
    return [
        Spoken(np.concatenate([before, clip.samples, after]), clip.text)
        for (before, after), clip in zip(edges, clips, strict=True)
    ]


def joined(clips: Sequence[Spoken], rng: random.Random, seconds: float) -> list[Spoken]:
    """All clips in random order, joined with pauses of digital silence until each recording has `seconds`."""
    recordings: list[Spoken] = []
    held: list[Spoken] = []
    shuffled = rng.sample(clips, len(clips))
    for place, clip in enumerate(shuffled, 1):
        held.append(clip)
        if place == len(shuffled) or sum(len(one.samples) for one in held) >= seconds * SAMPLE_RATE:
            pauses = [np.zeros(int(rng.uniform(*PAUSE_S) * SAMPLE_RATE), np.float32) for _ in held[1:]]
            parts = [held[0].samples]
            for pause, one in zip(pauses, held[1:], strict=True):
                parts += [pause, one.samples]
            recordings.append(Spoken(np.concatenate(parts), join_texts([one.text for one in held])))
            held = []
    return recordings


WAYS: dict[str, Callable[[Sequence[Spoken], random.Random], list[Spoken]]] = {
    "alone": alone,
    "1 s of zeros": partial(with_edges, level=0.0),
    "1 s of noise": partial(with_edges, level=10 ** (NOISE_DB / 20)),
    "6 s": partial(joined, seconds=6.0),
    "13 s": partial(joined, seconds=13.0),
    "25 s": partial(joined, seconds=25.0),
}


def count_errors(transcriber: Transcriber, spoken: Sequence[Spoken], test_set: TestSet, table: LanguageTable) -> Counts:
    """Transcribe recordings in the language of `test_set` and count the errors."""
    names = [f"{number:05d}" for number in range(len(spoken))]
    recordings = [Recording(name, one.samples) for name, one in zip(names, spoken, strict=True)]
    hypotheses: dict[str, str] = {}
    for recording, found in transcriber.transcribe(recordings, test_set.language):
        if isinstance(found, Exception):
            raise found
        hypotheses[recording.id] = found.text
    references = dict(zip(names, (one.text for one in spoken), strict=True))
    same = replace(test_set, references=references, speakers=dict.fromkeys(names, "s"), repeats=dict.fromkeys(names, 1))
    language, counts = table[test_set.language], Counts()
    diagnosis = Diagnosis(test_set.language, table.codes)
    for block in score_utterances(same, hypotheses, language.unit, language.normaliser, diagnosis):
        for utterance in block:
            counts.add(utterance)
    return counts


def load_clips(raw: Path, test_set: TestSet, utts: int | None) -> list[Spoken]:
    """The first `utts` utterances of a test set; None: all."""
    entries = read_table(raw / test_set.name / "wav.scp")
    chosen = sorted(test_set.references)[:utts]
    return [Spoken(load_audio(entries[utt]), test_set.references[utt]) for utt in chosen]


def measure(settings: Settings, transcriber: Transcriber, rows: Sequence[SetRow], table: LanguageTable) -> dict:
    """Return {language: {way: error rate in per cent}}, over all test sets of the language."""
    counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for row in tqdm(rows, unit="set"):
        test_set = load_test_set(settings.raw, row)
        clips = load_clips(settings.raw, test_set, settings.utts)
        for way, make in WAYS.items():
            found = count_errors(transcriber, make(clips, random.Random(f"{row.set} {way}")), test_set, table)
            sums = counts[row.language][way]
            sums[0] += found.errors
            sums[1] += found.ref_units
    return {
        code: {way: 100 * errors / max(1, units) for way, (errors, units) in ways.items()}
        for code, ways in counts.items()
    }


def write_page(settings: Settings) -> None:
    """Measure the high-resource languages and write the page."""
    table_of_languages = LanguageTable.load(settings.languages)
    high = load_groups(settings.datasets, table_of_languages).high
    rows = [row for row in read_sets(settings.raw / "sets.tsv") if row.kind == "test" and row.phase == "sft"]
    rows = [row for row in rows if row.language in high]
    config = replace(DEFAULTS, tokens_per_s=settings.tokens_per_s, batch_size=32)
    transcriber = Transcriber.from_pretrained(settings.exp, config=config)
    rates = measure(settings, transcriber, rows, table_of_languages)
    cells = [
        [code, table_of_languages[code].unit.upper(), *(percent(of[way]) for way in WAYS), *_ratios(of)]
        for code, of in rates.items()
    ]
    mean = {way: sum(of[way] for of in rates.values()) / len(rates) for way in WAYS}
    cells.append(["mean", "", *(percent(mean[way]) for way in WAYS), *_ratios(mean)])
    header = ["language", "unit", *(f"{way}, %" for way in WAYS), *(f"{way} / alone" for way in list(WAYS)[1:])]
    page = (
        "# Silence and joined utterances\n\n"
        f"Error rates of `{settings.exp.name}`, language given: test utterances alone; with {EDGE_S:g} s of digital "
        f"silence, or of white noise at {NOISE_DB:g} dB of full scale, before and after; joined to 6, 13 and 25 s with "
        f"pauses of {PAUSE_S[0]} to {PAUSE_S[1]} s. Recordings are cut into pieces of at most "
        f"{transcriber.longest_s:g} s.\n\n{table(header, cells, 2)}\n\n"
        f"`{' '.join(['python -m local.mini.robustness', *sys.argv[1:]])}`\n\n{machine_table()}\n"
    )
    with atomic_path(settings.out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    log(f"written: {settings.out}")


def _ratios(rates: dict[str, float]) -> list[str]:
    """Error rate of every other way divided by that of the utterances alone."""
    return [f"{rates[way] / rates['alone']:.2f}" if rates["alone"] else "-" for way in list(WAYS)[1:]]


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--exp", type=Path, default=Path("exp/sft_zipper_soft_chunked"), help="training directory")
    options.add_argument("--raw", type=Path, default=Path("dump/raw"), help="data directories of stage 2")
    options.add_argument("--languages", type=Path, default=Path("conf/languages.tsv"), help="table of languages")
    options.add_argument("--datasets", type=Path, default=Path("conf/datasets.tsv"), help="table of data sets")
    options.add_argument("--out", type=Path, default=Path("results/mini/ROBUSTNESS.md"), help="output page")
    options.add_argument("--utts", type=int, default=None, help="utterances of each test set; default: all")
    options.add_argument("--tokens_per_s", type=float, default=25.0, help="longest hypothesis, in tokens per second")

    def step(given: argparse.Namespace) -> None:
        write_page(Settings(**vars(given)))

    return run_step(step, options.parse_args(argv), "local.mini.robustness")


if __name__ == "__main__":
    sys.exit(main())
