"""Pieces of several recordings in batches, within the search's limits on utterances and positions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from zipperasr.batching.batch import Example
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.transcribe.transcript import Job


def in_batches(
    recordings: Iterable[tuple[Job, Iterable[Example]]], limits: DecodeConfig, by_recording: bool
) -> Iterator[list[Example]]:
    """Batches of pieces, sorted by language.

    by_recording: a recording whose language was detected has batches of its own, because a batch has one mixture of
        languages.
    """
    batch: list[Example] = []
    for job, examples in recordings:
        for example in examples:
            if batch and not _fits([*batch, example], limits):
                yield _by_language(batch)
                batch = []
            batch.append(example)
        if batch and by_recording and job.lang_probs:
            yield batch
            batch = []
    if batch:
        yield _by_language(batch)


def _by_language(batch: list[Example]) -> list[Example]:
    return sorted(batch, key=lambda one: one.language)


def _fits(batch: Sequence[Example], limits: DecodeConfig) -> bool:
    longest = max(example.positions for example in batch)
    return len(batch) <= limits.batch_size and len(batch) * longest <= limits.batch_positions
