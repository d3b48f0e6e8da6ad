"""Compute the state embeddings of stage 4 in shards, each for some of the languages.

In: a job of stage 4. Out: OUT.shards/K/states.ark, Kaldi vectors by language code, for each shard K that has languages;
merged, what `write_embeddings` writes.
"""

from __future__ import annotations

import kaldiio
import torch

from zipperasr.atomic import atomic_path, fingerprint, mark_current
from zipperasr.audio.ark import read_vectors
from zipperasr.audio.log_mel import SAMPLE_RATE
from zipperasr.batching.manifest import Manifest
from zipperasr.cli import log
from zipperasr.lid.embeddings import EmbeddingJob, EmbeddingPlan, state_embeddings, write_all
from zipperasr.shards import Balance, ShardDirs
from zipperasr.sole_writer import sole_writer

FILE = "states.ark"
Drawn = dict[str, list[tuple[Manifest, int]]]  # language code: its training utterances


def compute_shard(job: EmbeddingJob, number: int, count: int) -> None:
    """Compute the states of shard `number`, unless they are there."""
    plan = EmbeddingPlan.make(job)
    dirs, parts = _divided(plan, count)
    if plan.is_current() or dirs.is_complete(number):
        log(f"{job.out}: nothing to compute in shard {number} of {count}")
        return
    out = dirs.path(number)
    with sole_writer(out):
        states = state_embeddings(plan, parts[number])
        with atomic_path(out) as temporary:
            temporary.mkdir()
            kaldiio.save_ark(str(temporary / FILE), {code: state.numpy() for code, state in states.items()})
            mark_current(temporary, dirs.inputs[number])


def missing_shards(job: EmbeddingJob, count: int) -> list[int]:
    """Return the numbers of the shards that are not complete; none if the embeddings are up to date."""
    plan = EmbeddingPlan.make(job)
    return [] if plan.is_current() else _divided(plan, count)[0].missing()


def merge_shards(job: EmbeddingJob, count: int) -> None:
    """Write the embeddings, unless they are up to date. Raises ValueError if a shard is missing."""
    plan = EmbeddingPlan.make(job)
    if plan.is_current():
        log(f"{job.out} is up to date")
        return
    with sole_writer(job.out), _divided(plan, count)[0].merged() as paths:
        states = {code: torch.tensor(state) for path in paths for code, state in read_vectors(path / FILE)}
        write_all(plan, states)


def _divided(plan: EmbeddingPlan, count: int) -> tuple[ShardDirs, dict[int, Drawn]]:
    """Divide the languages by the length of their utterances."""
    drawn = plan.drawn()
    seconds = [sum(float(m.num_samples[row]) for m, row in rows) / SAMPLE_RATE for rows in drawn.values()]
    parts: dict[int, Drawn] = {}
    for code, number in zip(drawn, Balance(count).assign(seconds), strict=True):
        parts.setdefault(number, {})[code] = drawn[code]
    marks = {number: plan.inputs | fingerprint(shard=[number, count, [*part]]) for number, part in parts.items()}
    return ShardDirs(plan.job.out, count, marks), parts
