"""What stage 1 must know about audio files: do they exist, and how long are they.

In: utterances as readers yield them. Out: the same with durations, and those without an audio file. Only headers
are read, and only where the metadata has no duration; a header that cannot be read counts 0 s until stage 2
quarantines the file.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import soundfile

from zipperasr.corpora.utterance import Utterance
from zipperasr.data.audio import header_duration_s

_BATCH = 4096
_DIRECTORIES = 64  # whose names are kept: a corpus is read directory by directory


def with_durations(utterances: Iterable[Utterance], num_threads: int) -> Iterator[tuple[Utterance, bool]]:
    """Yield (utterance with its duration, whether its audio file exists), in order.

    Directories are listed once instead of asking for each file, which on a network file system takes hours.
    """
    utterances = iter(utterances)
    names_in = functools.lru_cache(maxsize=_DIRECTORIES)(_names_in)
    with ThreadPoolExecutor(num_threads) as pool:
        while batch := list(islice(utterances, _BATCH)):
            places = (utterance.audio.rpartition("/") for utterance in batch)
            exist = [name in names_in(directory or ".") for directory, _, name in places]
            unknown = [u for u, there in zip(batch, exist, strict=True) if there and u.duration_s is None]
            durations_s = dict(zip(map(id, unknown), pool.map(_header_duration_s, unknown, chunksize=64), strict=True))
            for utterance, there in zip(batch, exist, strict=True):
                if utterance.duration_s is None:
                    utterance = utterance._replace(duration_s=durations_s.get(id(utterance), 0.0))
                yield utterance, there


def _names_in(directory: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def _header_duration_s(utterance: Utterance) -> float:
    try:
        return header_duration_s(utterance.audio)
    except soundfile.LibsndfileError:
        return 0.0
