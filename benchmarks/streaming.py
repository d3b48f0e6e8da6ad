"""Streams of a recipe's test utterances: latency, retracted words, and final texts compared with offline decoding.

Output: a section in RESULTS.md for each of `--parts`: `chunks`, one column per chunk length; `minute`, a minute or more
per language; `server`, eight streams at once through the WebSocket; `hour`, the memory of a long stream. Utterances of
a language are joined with pauses of 0.8 s.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from live_streams import at_once, long_stream
from recipe_speech import Utterance, add_recipe, error_rate, mean, read_utterances, units
from record import write_section
from shared_options import add_results

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.cli import log, parser, run_step
from zipperasr.exchange.pretrained import Pretrained, load_pretrained
from zipperasr.languages import Language
from zipperasr.markdown import table
from zipperasr.spacing import join_texts
from zipperasr.transcribe.stream import Partial
from zipperasr.transcribe.stream_endpoints import HOP
from zipperasr.transcribe.transcriber import Transcriber
from zipperasr.transcribe.transcript import Segment
from zipperasr.transcribe.voice import DETECTORS, ENERGY

PAUSE_S = 0.8
PARTS = ("chunks", "minute", "server", "hour")


class Measured:
    """Sums over the streams of all languages at one chunk length."""

    def __init__(self, opened: Pretrained, chunk_s: float, vad: str):
        settings = replace(opened.experiment.model, decode_chunk_s=chunk_s)
        experiment = replace(opened.experiment, model=settings)
        self.transcriber = Transcriber(replace(opened, experiment=experiment), vad=vad)
        self.chunk_s = chunk_s
        self.rates: dict[str, float] = {}  # by language
        self.rates_alone: dict[str, float] = {}  # of the utterances one by one, offline
        self.counts: Counter[str] = Counter()
        self.computed_s: list[float] = []  # CPU time from the samples that complete a chunk to its partial text
        self.waited_s: list[float] = []  # from the segment's start to its first partial text, without computation

    def stream(self, lang: str, utterances: Sequence[Utterance]) -> None:
        """Stream the utterances of a language."""
        language = self.transcriber.languages[lang]
        samples = joined(utterances)
        stream, finals, shown = self.transcriber.stream(lang), [], []
        for start in range(0, len(samples), HOP):
            before = time.process_time()
            for event in stream.feed(samples[start : start + HOP]):
                if isinstance(event, Partial):
                    self.computed_s.append(time.process_time() - before)
                    if not shown:
                        self.waited_s.append((start + HOP) / SAMPLE_RATE - event.start_s)
                    shown.append(event)
                else:
                    finals.append(event)
                    self._count_retracted(shown, event.text, language)
                    shown = []
        finals += stream.finish()
        self.counts["chunks"] += stream.cache.num_encoded
        self.counts["repeated chunks"] += stream.cache.num_repeated
        for segment in finals:
            self.counts["segments"] += 1
            self.counts["equal"] += segment.text == self._offline(samples, segment, lang)
        reference = " ".join(one.reference for one in utterances)
        alone = [(one.reference, self.transcriber(one.samples, lang).text) for one in utterances]
        self.rates_alone[lang] = error_rate(alone, language)
        self.rates[lang] = error_rate([(reference, join_texts([segment.text for segment in finals]))], language)

    def _offline(self, samples: np.ndarray, segment: Segment, lang: str) -> str:
        """The text of the segment's samples, encoded and decoded at once."""
        part = samples[round(segment.start_s * SAMPLE_RATE) : round(segment.end_s * SAMPLE_RATE)]
        read, decoder = self.transcriber._read, self.transcriber._decoder
        trim, read.trim_silence = read.trim_silence, False  # the segment's times are already those of its speech
        (decoded,) = decoder.run([[read.of_audio("offline", lang, torch.from_numpy(part))]])
        read.trim_silence = trim
        return decoded.text

    def _count_retracted(self, shown: Sequence[Partial], final: str, language: Language) -> None:
        """Count units that a later text of the segment does not begin with."""
        texts = [*(partial.text for partial in shown), final]
        for text, following in pairwise(texts):
            self.counts["retracted"] += _not_in_prefix(units(text, language), units(following, language))
        for partial in shown:
            stable = units(partial.stable, language)
            self.counts["retracted stable"] += _not_in_prefix(stable, units(final, language))
        self.counts["units"] += len(units(final, language))

    def column(self) -> list[str]:
        counts = self.counts
        per_100 = 100 / max(1, counts["units"])
        return [
            f"{counts['equal']} of {counts['segments']}",
            f"{_median(self.waited_s):.2f}",
            f"{1000 * _median(self.computed_s):.0f}",
            f"{per_100 * counts['retracted']:.1f}",
            f"{per_100 * counts['retracted stable']:.1f}",
            f"{counts['repeated chunks']} of {counts['chunks']}",
            f"{mean(self.rates):.2f}",
            f"{mean(self.rates_alone):.2f}",
        ]


ROWS = (
    "final texts equal to offline decoding",
    "first partial text, s after the segment's start (median)",
    "computation of a partial text, ms of CPU (median)",
    "retracted words or characters per 100",
    "retracted ones that were marked as stable, per 100",
    "chunks encoded again",
    "mean error rate, %",
    "mean error rate of the utterances one by one, offline, %",
)


def _median(values: Sequence[float]) -> float:
    """NaN if there was no partial text."""
    return statistics.median(values) if values else math.nan


def _not_in_prefix(earlier: Sequence[str], later: Sequence[str]) -> int:
    same = next((n for n, pair in enumerate(zip(earlier, later, strict=False)) if pair[0] != pair[1]), None)
    return len(earlier) - (min(len(earlier), len(later)) if same is None else same)


def joined(utterances: Sequence[Utterance]) -> np.ndarray:
    """Utterances before pauses, without digital silence."""
    pause = np.zeros(int(PAUSE_S * SAMPLE_RATE), dtype=np.float32)
    samples = np.concatenate([part for one in utterances for part in (one.samples, pause)])
    return samples + np.random.default_rng(1).normal(0, 1e-4, len(samples)).astype(np.float32)


def of_length(utterances: Sequence[Utterance], seconds: float) -> list[Utterance]:
    """The first utterances that last this long with their pauses; all, if they are shorter."""
    ends = np.cumsum([len(one.samples) / SAMPLE_RATE + PAUSE_S for one in utterances])
    return list(utterances[: int((ends < seconds).sum()) + 1])


def measure(given: argparse.Namespace) -> None:
    opened = load_pretrained(given.model, torch.float32)
    if "chunks" in given.parts:
        measure_chunks(given, opened)
    if set(given.parts) == {"chunks"}:
        return
    everything = read_utterances(given.raw, 10**9, given.langs)
    streams = {lang: of_length(several, given.stream_s) for lang, several in everything.items()}
    transcriber = Transcriber(opened, vad=given.vad)
    described = (
        f"`{given.model.name}`, chunks of {opened.experiment.model.decode_chunk_s:g} s; voice detector {given.vad}. "
    )
    if "minute" in given.parts:
        measured = Measured(opened, opened.experiment.model.decode_chunk_s, given.vad)
        for lang, several in streams.items():
            measured.stream(lang, several)
        minutes = sum(map(len, map(joined, streams.values()))) / SAMPLE_RATE / 60
        body = f"{described}{len(streams)} languages, {minutes:.1f} minutes.\n\n"
        rows = [list(row) for row in zip(ROWS, measured.column(), strict=True)]
        write_section("Streaming, minutes per language", body + table(["", ""], rows), given.results)
    eight = {lang: joined(several) for lang, several in list(streams.items())[:8]}
    if "server" in given.parts:
        body = described + at_once(given.model, transcriber, eight, ["--vad", given.vad])
        write_section("Streaming through the server", body, given.results)
    if "hour" in given.parts:
        body = described + long_stream(transcriber, eight, 60.0 * given.long_min)
        write_section("Streaming for an hour", body, given.results)


def measure_chunks(given: argparse.Namespace, opened: Pretrained) -> None:
    utterances = read_utterances(given.raw, given.utterances, given.langs)
    columns = []
    for chunk_s in given.chunks_s:
        measured = Measured(opened, chunk_s, given.vad)
        for lang, several in utterances.items():
            measured.stream(lang, several)
        log(f"chunks of {chunk_s} s: {dict(measured.counts)}, mean error rate {mean(measured.rates):.2f} %")
        columns.append(measured.column())
    minutes = sum(len(one.samples) for several in utterances.values() for one in several) / SAMPLE_RATE / 60
    material = f"{len(utterances)} languages, {given.utterances} utterances each, {minutes:.1f} minutes"
    rows = [list(row) for row in zip(ROWS, *columns, strict=True)]
    header = ["", *(f"chunks of {chunk_s:g} s" for chunk_s in given.chunks_s)]
    body = f"`{given.model.name}`, {material}; voice detector {given.vad}.\n\n{table(header, rows)}"
    write_section("Streaming", body, given.results)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    add_recipe(options)
    options.add_argument("--chunks_s", type=float, nargs="+", default=[0.5, 1.0, 2.0], help="chunk lengths in seconds")
    options.add_argument("--parts", nargs="+", choices=PARTS, default=["chunks"], help="what is measured")
    options.add_argument("--stream_s", type=float, default=60.0, help="length of each stream of `minute` and `server`")
    options.add_argument("--long_min", type=float, default=60.0, help="length of the stream of `hour` in minutes")
    options.add_argument("--vad", choices=DETECTORS, default=ENERGY, help="voice detector")
    add_results(options)
    return run_step(measure, options.parse_args(argv), "streaming")


if __name__ == "__main__":
    sys.exit(main())
