"""Recordings to try the page with: one for each language, from data directories.

In: a directory of Kaldi data directories, such as dump/raw. Out: the first utterance of each language as WAV, with its
transcript. Test sets come first.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import soundfile

from zipperasr.audio.load import SAMPLE_RATE, load_audio
from zipperasr.datadir.read import read_blocks

LONGEST_S = 30.0  # a longer utterance is no quick example


@dataclass(frozen=True)
class Sample:
    """An utterance in one language."""

    text: str  # its transcript
    wav: bytes  # 16 kHz, mono, 16 bits


def read_samples(directory: Path, codes: Collection[str]) -> dict[str, Sample]:
    """The first utterance of each language of `codes` that a data directory in `directory` contains.

    Raises FileNotFoundError or ValueError if there is none, or if a table or the audio cannot be read.
    """
    places = [path.parent for path in directory.rglob("utt2lang")]
    found: dict[str, Sample] = {}
    for place in sorted(places, key=lambda path: (not path.name.startswith("test"), str(path))):
        for block in read_blocks(place):
            if len(found) == len(codes):
                break
            for row in block.to_pylist():
                if row["language"] in codes and row["language"] not in found and row["duration_s"] <= LONGEST_S:
                    found[row["language"]] = Sample(row["text"], _wav(row))
    if not found:
        raise FileNotFoundError(f"{directory}: no data directory with {', '.join(codes)}; give one such as dump/raw")
    return {code: found[code] for code in codes if code in found}


def _wav(row: dict) -> bytes:
    samples = load_audio(row["audio"])
    start, end = (None if row[key] is None else int(row[key] * SAMPLE_RATE) for key in ("start_s", "end_s"))
    stream = io.BytesIO()
    soundfile.write(stream, samples[start:end], SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return stream.getvalue()
