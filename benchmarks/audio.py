"""Audio reading and log-mel extraction compared with ESPnet's reader, kaldiio and transformers' feature extractor.

Input: none; audio is generated in a temporary directory. Output: a section of RESULTS.md. Runs on one thread,
alternates between both sides and reports medians over the rounds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import kaldiio
import numpy as np
import soundfile
import torch
from record import write_section
from shared_options import add_results

from zipperasr.audio.convert import FLAC
from zipperasr.audio.load import SAMPLE_RATE, load_audio
from zipperasr.audio.log_mel import log_mel
from zipperasr.cli import parser, run_step
from zipperasr.markdown import table

CODECS = {"flac": {}, "opus": {"format": "OGG", "subtype": "OPUS"}, "mp3": {"format": "MP3"}}
MEL_BINS = 128
SPEECH_BAND_HZ = (100, 4000)


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--utts", type=int, default=40, help="number of utterances per codec")
    options.add_argument("--seconds", type=float, default=15.0, help="length of an utterance in seconds")
    options.add_argument("--rounds", type=int, default=7, help="number of measured rounds")
    add_results(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.audio")


def _run(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    audio = [_speechlike(options.seconds, seed) for seed in range(options.utts)]
    with tempfile.TemporaryDirectory() as name:
        pairs = [*_readers(Path(name), audio), *_extractors(audio)]
        times = [[] for _ in pairs]
        for _ in range(options.rounds):
            for (_, _, ours, theirs), found in zip(pairs, times, strict=True):
                found.append((_seconds(ours), _seconds(theirs)))
    total_s = options.utts * options.seconds
    rows = []
    for (what, peer, _, _), found in zip(pairs, times, strict=True):
        ours, theirs = (median(values) for values in zip(*found, strict=True))
        speeds = (f"{total_s / ours:,.0f}", f"{total_s / theirs:,.0f}")
        rows.append([what, peer, *speeds, f"{median(b / a for a, b in found):.1f}"])
    header = ["task", "peer", "ours, s of audio per s", "peer, s of audio per s", "speedup"]
    body = f"{options.utts} utterances of {options.seconds:g} s, one thread, median of {options.rounds} rounds."
    write_section("Audio and features", f"{body}\n\n{table(header, rows, 2)}", options.results)


def _speechlike(seconds: float, seed: int) -> np.ndarray:
    """Band-limited noise in the frequencies of speech, modulated at 4 Hz; int16."""
    generator = np.random.default_rng(seed)
    samples = round(seconds * SAMPLE_RATE)
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    frequencies_hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    spectrum[(frequencies_hz < SPEECH_BAND_HZ[0]) | (frequencies_hz > SPEECH_BAND_HZ[1])] = 0
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * np.arange(samples) / SAMPLE_RATE)
    wave = np.fft.irfft(spectrum, samples) * swell
    return (8000 * wave / np.abs(wave).max()).astype(np.int16)


def _readers(base: Path, audio: list[np.ndarray]) -> Iterable[tuple[str, str, Callable, Callable]]:
    from espnet2.fileio.sound_scp import SoundScpReader

    for codec, form in CODECS.items():
        paths = []
        for number, samples in enumerate(audio):
            paths.append(base / f"u{number:04d}.{codec}")
            soundfile.write(paths[-1], samples, SAMPLE_RATE, **form)
        scp = base / f"{codec}.scp"
        scp.write_text("".join(f"u{number:04d} {path}\n" for number, path in enumerate(paths)))
        reader = SoundScpReader(str(scp), dtype="float32")
        yield f"read {codec}", "espnet2 SoundScpReader", _all(load_audio, paths), _all(reader.__getitem__, list(reader))
    ark, scp = base / "flac.ark", base / "ark.scp"
    named = {f"u{number:04d}": (SAMPLE_RATE, samples) for number, samples in enumerate(audio)}
    kaldiio.save_ark(str(ark), named, scp=str(scp), write_function="soundfile", write_kwargs=dict(FLAC))
    entries = [line.split()[1] for line in scp.read_text().splitlines()]
    loader = kaldiio.load_scp(str(scp))  # noqa: TID251  # this is the peer
    yield "read flac.ark", "kaldiio load_scp", _all(load_audio, entries), _all(loader.__getitem__, list(named))


def _extractors(audio: list[np.ndarray]) -> Iterable[tuple[str, str, Callable, Callable]]:
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=MEL_BINS)
    waves = [(samples / 32768).astype(np.float32) for samples in audio]
    ours = _all(lambda wave: log_mel(torch.from_numpy(wave), MEL_BINS), waves)
    for how, settings in (("default padding", {}), ("do_not_pad", {"padding": "do_not_pad"})):
        theirs = _all(lambda wave, s=settings: extractor(wave, sampling_rate=SAMPLE_RATE, **s), waves)
        yield f"log-mel, {MEL_BINS} bins", f"WhisperFeatureExtractor, {how}", ours, theirs


def _all(function: Callable, items: Iterable) -> Callable[[], None]:
    def run() -> None:
        for item in items:
            function(item)

    return run


def _seconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
