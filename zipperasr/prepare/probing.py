"""Find out which audio files exist, and how long they are.

In: utterances of a reader. Out: the same with durations, and whether each has an audio file. Only headers are read, and
only if the metadata has no duration; an unreadable header counts as 0 s until stage 2 quarantines the file. Durations
are recorded, so that an interrupted run need not read the headers again.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import TracebackType

import soundfile

from zipperasr.audio.ark import split_entry
from zipperasr.audio.load import header_duration_s
from zipperasr.corpora.audio_tables import is_table
from zipperasr.corpora.utterance import Utterance

_BATCH = 4096
_DIRECTORIES = 64  # in the cache; a corpus is read directory by directory
_THREADS = 32  # they wait for disks or the network, and hardly compute


def probe(utterances: Iterable[Utterance], record: Path) -> Iterator[tuple[list[Utterance], list[bool]]]:
    """Yield batches: (utterances with their durations, whether each one's audio file exists), in order.

    Directories are listed once, because checking each file takes hours on a network file system.

    Args:
        record: file of durations; a later call with the same utterances in the same order reads it instead of headers.
    """
    utterances = iter(utterances)
    names_in = functools.lru_cache(maxsize=_DIRECTORIES)(_names_in)
    with ThreadPoolExecutor(_THREADS) as pool, _Record(record) as known:
        while batch := list(islice(utterances, _BATCH)):
            paths = [split_entry(utterance.audio)[0].rpartition("/") for utterance in batch]
            directories = dict.fromkeys(directory for directory, _, _ in paths)
            names = dict(zip(directories, pool.map(names_in, directories), strict=True))
            exist = [name in names[directory] for directory, _, name in paths]
            unknown = [number for number, utterance in enumerate(batch) if utterance.duration_s is None]
            durations_s = iter(_durations_s([batch[n].audio for n in unknown if exist[n]], pool, known))
            for number in unknown:
                seconds = next(durations_s) if exist[number] else 0.0
                batch[number] = batch[number]._replace(duration_s=max(0.0, seconds - (batch[number].start_s or 0.0)))
            yield batch, exist


def _durations_s(paths: list[str], pool: ThreadPoolExecutor, known: _Record) -> list[float]:
    if not paths:
        return []
    files = list(pool.map(_file_state, paths, chunksize=64))
    found = known.read(files)
    if any(is_table(split_entry(path)[0]) for path in paths):
        new = [_header_duration_s(path) for path in paths[len(found) :]]  # threads would read many row groups at once
    else:
        new = list(pool.map(_header_duration_s, paths[len(found) :], chunksize=64))
    known.write(files[len(found) :], new)
    return found + new


class _Record:
    """A file of paths and durations in order: read while the paths match, overwritten from the first mismatch."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a+b")
        self._stream.seek(0)
        self._position = 0  # after the last match

    def __enter__(self) -> _Record:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()

    def read(self, files: Sequence[str]) -> list[float]:
        """Return the durations of the leading files that the record has."""
        found = []
        for file in files:
            seconds, _, known = self._stream.readline().partition(b" ")
            if known != f"{file}\n".encode(errors="surrogateescape"):
                break
            found.append(float(seconds))
            self._position += len(seconds) + 1 + len(known)
        return found

    def write(self, files: Sequence[str], durations_s: Sequence[float]) -> None:
        """Write after the last match; drop what follows it."""
        if files:
            self._stream.truncate(self._position)
            lines = (f"{seconds!r} {file}\n" for seconds, file in zip(durations_s, files, strict=True))
            self._position += self._stream.write("".join(lines).encode(errors="surrogateescape"))
            self._stream.flush()
            self._stream.seek(self._position)


def _file_state(path: str) -> str:
    """Return a string that changes if the file does."""
    try:
        state = os.stat(split_entry(path)[0])
    except OSError:
        return path
    return f"{state.st_size} {state.st_mtime_ns} {path}"


def _names_in(directory: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(directory or "."))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def _header_duration_s(path: str) -> float:
    try:
        return header_duration_s(path)
    except (soundfile.LibsndfileError, ValueError):
        return 0.0
