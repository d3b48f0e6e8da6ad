"""Voice detectors: clips without speech that get a text, and the error rate on the test sets of a finished recipe.

Output: a table in RESULTS.md. The clips are noise of different spectra, music-like tones and mains hum, at five levels.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from recipe_speech import add_recipe, error_rate, mean, read_utterances
from record import write_section
from shared_options import add_results

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.cli import log, parser, run_step
from zipperasr.markdown import table
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.transcriber import Transcriber
from zipperasr.transcribe.voice import DETECTORS

LEVELS_DB = (-50, -40, -30, -20, -10)  # of full scale
EXPONENTS = (-0.5, 0.0, 0.5, 0.8, 1.0, 1.5, 2.0)  # noise of power f ** -exponent; 0: white, 1: pink, 2: brown
HUMS_HZ = (50, 60, 100, 120, 50, 60)


def noise(rng: np.random.Generator, size: int, exponent: float) -> np.ndarray:
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    frequencies[0] = frequencies[1]
    spectrum = np.fft.rfft(rng.normal(size=size))
    return np.fft.irfft(spectrum * frequencies ** (-exponent / 2))


def music(rng: np.random.Generator, size: int) -> np.ndarray:
    """Chords of three notes with six harmonics each, plucked and decaying, at a steady beat."""
    samples = np.zeros(size)
    beat, root, decay = int(rng.uniform(0.2, 0.6) * SAMPLE_RATE), rng.uniform(110, 440), rng.uniform(1, 6)
    for start in range(0, len(samples), beat):
        time = np.arange(min(beat, len(samples) - start)) / SAMPLE_RATE
        for pitch in root * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12], 3) / 12):
            tones = sum(np.sin(2 * np.pi * pitch * harmonic * time) / harmonic for harmonic in range(1, 7))
            samples[start : start + beat] += np.minimum(1, time / 0.01) * np.exp(-decay * time) * tones
    return samples


def hum(rng: np.random.Generator, size: int, base_hz: float) -> np.ndarray:
    """Twenty harmonics of the mains with a little noise."""
    time = np.arange(size) / SAMPLE_RATE
    phases, heights = rng.uniform(0, 2 * np.pi, 20), rng.uniform(0.1, 1, 20) / np.arange(1, 21)
    tones = sum(
        height * np.sin(2 * np.pi * base_hz * number * time + phase)
        for number, (height, phase) in enumerate(zip(heights, phases, strict=True), 1)
    )
    return tones + rng.normal(0, 0.02, len(time))


def make_clips(seconds: float, seed: int = 1) -> dict[str, list[np.ndarray]]:
    """100 clips by kind: 35 of noise, 35 of music, 30 of hum."""
    rng, size = np.random.default_rng(seed), int(seconds * SAMPLE_RATE)
    clips: dict[str, list[np.ndarray]] = {"noise": [], "music-like tones": [], "hum": []}
    for level in LEVELS_DB:
        made = {
            "noise": [noise(rng, size, exponent) for exponent in EXPONENTS],
            "music-like tones": [music(rng, size) for _ in EXPONENTS],
            "hum": [hum(rng, size, base_hz) for base_hz in HUMS_HZ],
        }
        for kind, several in made.items():
            scaled = [one * 10 ** (level / 20) / np.sqrt(np.mean(one**2)) for one in several]
            clips[kind] += [one.clip(-1, 1).astype(np.float32) for one in scaled]
    return clips


def texts(transcriber: Transcriber, clips: list[np.ndarray], lang: str) -> list[str]:
    recordings = [Recording(str(number), clip) for number, clip in enumerate(clips)]
    return [transcript.text for _, transcript in transcriber.transcribe(recordings, lang)]


def measure(given: argparse.Namespace) -> None:
    utterances, clips = read_utterances(given.raw.resolve(), given.utterances, given.langs), make_clips(given.clip_s)
    results = given.results.resolve()
    columns, rates = {}, {}
    for vad in DETECTORS:
        transcriber = Transcriber.from_pretrained(given.model, "cpu", vad=vad)
        empty = {
            kind: sum(not text for text in texts(transcriber, several, next(iter(utterances))))
            for kind, several in clips.items()
        }
        log(f"{vad}: empty texts: {empty}")
        rates[vad] = {}
        for lang, several in utterances.items():
            found = texts(transcriber, [one.samples for one in several], lang)
            pairs = [(one.reference, text) for one, text in zip(several, found, strict=True)]
            rates[vad][lang] = error_rate(pairs, transcriber.languages[lang])
        log(f"{vad}: mean error rate {mean(rates[vad]):.2f} %")
        columns[vad] = [f"{count} of {len(clips[kind])}" for kind, count in empty.items()]
        columns[vad] += [f"{rate:.2f}" for rate in rates[vad].values()] + [f"{mean(rates[vad]):.2f}"]
    names = [f"{kind}: empty texts" for kind in clips] + [f"error rate, {lang}, %" for lang in utterances]
    rows = [[name, *values] for name, *values in zip([*names, "mean error rate, %"], *columns.values(), strict=True)]
    write_section("Voice detectors", _body(given, table(["", *columns], rows)), results)


def _body(given: argparse.Namespace, rows: str) -> str:
    return (
        f"`{given.model.name}`, with the language given: 100 clips of {given.clip_s:g} s without speech, at "
        f"{LEVELS_DB[0]} to {LEVELS_DB[-1]} dB of full scale, and {given.utterances} test utterances per language."
        f"\n\n{rows}"
    )


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    add_recipe(options)
    options.add_argument("--clip_s", type=float, default=8.0, help="length of the clips without speech in seconds")
    add_results(options)
    return run_step(measure, options.parse_args(argv), "voice_detector")


if __name__ == "__main__":
    sys.exit(main())
