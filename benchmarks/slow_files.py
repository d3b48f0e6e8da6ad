"""Stages 1 and 2 on a file system that takes long to open a file, such as a mounted object store, simulated.

Input: none; recordings are made in a temporary directory. Output: a section of RESULTS.md. Opening a recording and
listing a directory take `--delay_ms` longer; one process works, with and without opening files ahead.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile
from record import write_section
from shared_options import add_results

from zipperasr.audio import convert
from zipperasr.cli import parser, run_step
from zipperasr.corpora.utterance import Utterance
from zipperasr.datadir.entry import Entry
from zipperasr.markdown import table
from zipperasr.prepare import probing

SECONDS = 10.0
FILES_OF_A_DIRECTORY = 20


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--files", type=int, default=512, help="number of recordings of 10 s, 16 kHz FLAC")
    options.add_argument("--delay_ms", type=float, default=20.0, help="added to each opening and each listing")
    add_results(options)
    return run_step(_run, options.parse_args(argv), "benchmarks.slow_files")


def _run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        paths = list(_recordings(base / "corpus", options.files))
        rows = [[name, *_measured(work, base, paths, options.delay_ms / 1000)] for name, work in WORK.items()]
    columns = ["task", "files", "s without delay", "s", "delays alone, s", "most openings of a file"]
    text = f"Each opening and each listing of a directory takes {options.delay_ms:g} ms longer; one process.\n\n"
    write_section("Files that open slowly", text + table(columns, rows), options.results)


def _recordings(folder: Path, count: int) -> Iterator[Path]:
    generator = np.random.default_rng(0)
    for number in range(count):
        path = folder / str(number // FILES_OF_A_DIRECTORY) / f"{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, generator.normal(0, 0.1, int(SECONDS * 16_000)), 16_000)
        yield path


def _probe(base: Path, paths: list[Path]) -> None:
    utterances = (Utterance(path.stem, "s", str(path), "text", "de") for path in paths)
    assert sum(sum(exist) for _, exist in probing.probe(utterances, base / "record")) == len(paths)


def _convert(base: Path, paths: list[Path]) -> None:
    entries = tuple(Entry(f"s-{path.stem}", "s", str(path), "text", "de", SECONDS) for path in paths)
    assert len(convert.convert_chunk(convert.Chunk(str(base / "format.1"), "flac.ark", entries)).written) == len(paths)


def _probe_one_by_one(base: Path, paths: list[Path]) -> None:
    with mock.patch.object(probing, "_THREADS", 1):
        _probe(base, paths)


def _convert_one_by_one(base: Path, paths: list[Path]) -> None:
    with mock.patch.object(convert, "FILES_AHEAD", 1):
        _convert(base, paths)


WORK = {
    "stage 1: existence and length": _probe,
    "the same, one file at a time": _probe_one_by_one,
    "stage 2: conversion": _convert,
    "the same, one file ahead": _convert_one_by_one,
}


def _measured(work, base: Path, paths: list[Path], delay_s: float) -> list[str]:
    seconds = []
    for delay in (0.0, delay_s):
        with tempfile.TemporaryDirectory(dir=base) as scratch, _slow(delay) as opened:
            start = time.perf_counter()
            work(Path(scratch), paths)
            seconds.append(time.perf_counter() - start)
    alone = sum(opened.values()) * delay_s
    most = max(opened[str(path)] for path in paths)
    return [f"{len(paths):,}", *(f"{value:.1f}" for value in (*seconds, alone)), str(most)]


@contextmanager
def _slow(delay_s: float) -> Iterator[Counter[str]]:
    """Delay openings by soundfile, and listings of directories. Yields how often each path was opened or listed."""
    opened: Counter[str] = Counter()
    begin, listdir = soundfile.SoundFile.__init__, os.listdir

    def slowly_begin(self, file, *arguments, **settings):
        if isinstance(file, str | Path):  # not an archive's entry in memory
            opened[str(file)] += 1
            time.sleep(delay_s)
        begin(self, file, *arguments, **settings)

    def slowly_list(path):
        opened[str(path)] += 1
        time.sleep(delay_s)
        return listdir(path)

    with (
        mock.patch.object(soundfile.SoundFile, "__init__", slowly_begin),
        mock.patch.object(os, "listdir", slowly_list),
    ):
        yield opened


if __name__ == "__main__":
    raise SystemExit(main())
