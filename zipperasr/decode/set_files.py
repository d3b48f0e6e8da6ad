"""The files of a decoded test set: text, retried, rtf.json, encoder_means.ark, and nbest.jsonl if nbest > 1.

In: the results of one process, or the directories of all shards. Out: a complete directory with the same bytes in
either case, times apart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zipperasr.atomic import atomic_path, mark_current
from zipperasr.decode.alternatives import FILE as NBEST
from zipperasr.decode.alternatives import Alternatives, read_nbest, write_nbest
from zipperasr.decode.batch_plan import SetToDecode
from zipperasr.decode.encoder_means import FILE, read_means, write_means

TEXT, RETRIED, SPEED = "text", "retried", "rtf.json"


@dataclass
class Results:
    """The results for some utterances of a test set."""

    texts: dict[str, str] = field(default_factory=dict)  # by utterance id
    retried: set[str] = field(default_factory=set)  # ids of utterances decoded again because of a loop
    means: dict[str, np.ndarray] = field(default_factory=dict)  # encoder means of at most PER_SET utterances
    alternatives: dict[str, Alternatives] = field(default_factory=dict)  # by utterance id; empty unless nbest > 1


def write_set(out: Path, part: SetToDecode, results: Results, seconds: float) -> None:
    """Write the output of one process. seconds: wall time of decoding."""
    speed = _whole_speed(part.audio_s, [_speed(part.audio_s, seconds)])
    _write(out, part, results, speed)


def merge_set(out: Path, whole: SetToDecode, shards: Sequence[Path]) -> None:
    """Write the output from that of all shards."""
    results, speeds = Results(), []
    for shard in shards:
        for line in (shard / TEXT).read_text(encoding="utf-8").split("\n")[:-1]:
            utt_id, _, results.texts[utt_id] = line.partition(" ")
        results.retried.update((shard / RETRIED).read_text(encoding="utf-8").split())
        results.means |= read_means(shard / FILE)
        if (shard / NBEST).is_file():
            results.alternatives |= read_nbest(shard / NBEST)
        speeds += json.loads((shard / SPEED).read_text(encoding="utf-8"))["shards"]
    _write(out, whole, results, _whole_speed(whole.audio_s, speeds))


def _speed(audio_s: float, seconds: float) -> dict[str, float]:
    return {"audio_s": round(audio_s, 2), "seconds": round(seconds, 2), "rtf": round(seconds / audio_s, 5)}


def _whole_speed(audio_s: float, shards: list[dict[str, float]]) -> dict[str, object]:
    """Wall time and real-time factor as if all shards ran at the same time, their compute time, and those of each."""
    wall = _speed(audio_s, max(shard["seconds"] for shard in shards))
    compute_s = sum(shard["seconds"] for shard in shards)
    compute = {"compute_s": round(compute_s, 2), "compute_rtf": round(compute_s / audio_s, 5)}
    return {**wall, **compute, "shards": shards}


def _write(out: Path, part: SetToDecode, results: Results, speed: dict[str, object]) -> None:
    ids = part.manifest.table["utt_id"].take(part.rows).to_pylist()
    with atomic_path(out) as temporary:
        temporary.mkdir()
        lines = (f"{utt_id} {' '.join(results.texts[utt_id].split())}".rstrip() for utt_id in ids)
        (temporary / TEXT).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (temporary / RETRIED).write_text("".join(f"{utt_id}\n" for utt_id in sorted(results.retried)), encoding="utf-8")
        (temporary / SPEED).write_text(json.dumps(speed) + "\n", encoding="utf-8")
        write_means(temporary / FILE, results.means)
        if results.alternatives:
            write_nbest(temporary / NBEST, results.alternatives, ids)
        mark_current(temporary, part.inputs)
