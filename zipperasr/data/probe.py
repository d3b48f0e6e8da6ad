"""What stage 1 must know about audio files: do they exist, and how long are they.

In: utterances as readers yield them. Out: the same with durations, and those without an audio file. Only headers
are read, and only where the metadata has no duration; a header that cannot be read counts 0 s until stage 2
quarantines the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import soundfile

from zipperasr.corpora.utterance import Utterance
from zipperasr.data.audio import header_duration_s

_BATCH = 4096


def with_durations(utterances: Iterable[Utterance], num_threads: int) -> Iterator[tuple[Utterance, bool]]:
    """Yield (utterance with its duration, whether its audio file exists), in order."""
    utterances = iter(utterances)
    with ThreadPoolExecutor(num_threads) as pool:
        while batch := list(islice(utterances, _BATCH)):
            yield from pool.map(_probe, batch, chunksize=64)


def _probe(utterance: Utterance) -> tuple[Utterance, bool]:
    if not utterance.audio.is_file():
        return replace(utterance, duration_s=utterance.duration_s or 0.0), False
    if utterance.duration_s is not None:
        return utterance, True
    try:
        duration_s = header_duration_s(utterance.audio)
    except soundfile.LibsndfileError:
        duration_s = 0.0
    return replace(utterance, duration_s=duration_s), True
