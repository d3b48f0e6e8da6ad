"""Decode a model's test sets in shards (stage 7): each shard is one process, on a GPU of its own if there are any.

In: a training directory, manifests. Out: <decode_dir>/<test set>.shards/K with the files of a test set, for each shard
K that has utterances of the set; merged, what `decode_experiment` writes. A shard decodes whole batches of any set.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from zipperasr.atomic import fingerprint
from zipperasr.audio.log_mel import SAMPLE_RATE
from zipperasr.cli import log
from zipperasr.decode.batch_plan import SetToDecode
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decode_experiment import DecodingPlan, DecodingTask
from zipperasr.decode.set_files import merge_set
from zipperasr.shards import Balance, ShardDirs, remove_shards
from zipperasr.sole_writer import sole_writer


@dataclass(frozen=True)
class DividedSet:
    """A test set and its shards."""

    whole: SetToDecode
    parts: dict[int, SetToDecode]  # by number of the shard
    dirs: ShardDirs


def decode_shard(exp: Path, config: DecodeConfig, task: DecodingTask, number: int, count: int) -> None:
    """Decode shard `number` of all test sets that are not up to date."""
    plan = DecodingPlan.make(exp, config, task)
    todo = {
        divided.dirs.path(number): divided.parts[number]
        for divided in _divided(plan, count).values()
        if not divided.dirs.is_complete(number)
    }
    if not todo:
        log(f"{plan.directory}: nothing to decode in shard {number} of {count}")
        return
    with contextlib.ExitStack() as locks:
        for out in todo:
            locks.enter_context(sole_writer(out))
        plan.decode(todo)


def missing_shards(exp: Path, config: DecodeConfig, task: DecodingTask, count: int) -> set[int]:
    """Return the numbers of the shards that have not decoded all they should."""
    plan = DecodingPlan.make(exp, config, task)
    return {number for divided in _divided(plan, count).values() for number in divided.dirs.missing()}


def merge_shards(exp: Path, config: DecodeConfig, task: DecodingTask, count: int) -> None:
    """Write the test sets from their shards. Raises ValueError if a shard is missing."""
    plan = DecodingPlan.make(exp, config, task)
    divided_sets = _divided(plan, count)
    with contextlib.ExitStack() as stack:
        for out in divided_sets:
            stack.enter_context(sole_writer(out))
        shards = {out: stack.enter_context(divided.dirs.merged()) for out, divided in divided_sets.items()}
        if shards or plan.lacks_record():
            plan.save_record()
        for out, paths in shards.items():
            merge_set(out, divided_sets[out].whole, paths)
            log(f"{out}: merged {len(paths)} shards")
    for out in plan.sets:
        remove_shards(out)  # of an interrupted merge


def _divided(plan: DecodingPlan, count: int) -> dict[Path, DividedSet]:
    """Divide the test sets that are not up to date; a shard gets its share of all of them together."""
    balance, divided = Balance(count), {}
    for out, whole in plan.todo().items():
        num_samples = whole.manifest.num_samples
        chosen = balance.assign([float(num_samples[batch].sum()) / SAMPLE_RATE for batch in whole.batches])
        parts = {}
        for number in sorted(set(chosen)):
            batches = [batch for batch, shard in zip(whole.batches, chosen, strict=True) if shard == number]
            inputs = whole.inputs | fingerprint(shard=[number, count, batches])
            parts[number] = SetToDecode(whole.manifest, batches, inputs)
        dirs = ShardDirs(out, count, {number: part.inputs for number, part in parts.items()})
        divided[out] = DividedSet(whole, parts, dirs)
    return divided
