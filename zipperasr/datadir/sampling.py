"""Choose a subset of utterances: by hash, so that the choice does not depend on order or state, or as Kaldi does.

In: ids, durations or a data directory. Out: the chosen ids, or the largest hash to take.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from zipperasr.datadir.memory_tables import DataDir


def hash_of(utt_id: str, seed: int) -> int:
    """Return a uniform 64-bit number that depends on seed and id only."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {utt_id}".encode(), digest_size=8).digest(), "big")


def threshold_for_hours(hashes: Iterable[int], durations_s: Iterable[float], hours: float) -> int:
    """Return the hash up to which utterances add up to `hours`; the largest hash if there are fewer hours."""
    hashes = np.fromiter(hashes, dtype=np.uint64)
    durations_s = np.fromiter(durations_s, dtype=np.float64)
    order = np.argsort(hashes, kind="stable")
    enough = np.searchsorted(np.cumsum(durations_s[order]), hours * 3600)
    return int(hashes[order[min(enough, len(order) - 1)]]) if len(order) else 0


def kaldi_subset(data: DataDir, how: str, count: int) -> list[str]:
    """Return the utterances that Kaldi's subset_data_dir.sh would choose.

    Args:
        how: spread, first, last, shortest, speakers (whole speakers), per_spk (`count` utterances of each).
    """
    utts = data.utts
    if how == "per_spk":
        return [utt for mine in data.by_speaker.values() for utt in _spread(mine, min(count, len(mine)))]
    if count > len(utts):
        raise ValueError(f"got a subset size of {count}, wanted at most {len(utts)}, the number of utterances")
    if how == "speakers":
        taken: list[str] = []
        speakers = sorted(data.by_speaker, key=lambda speaker: hash_of(speaker, seed=0))
        while len(taken) < count:
            taken += data.by_speaker[speakers.pop()]
        return taken
    if how == "shortest":
        if "utt2dur" not in data.tables:
            raise ValueError("--shortest needs the table utt2dur")
        return sorted(utts, key=lambda utt: (float(data.tables["utt2dur"][utt]), utt))[:count]
    return {"first": utts[:count], "last": utts[len(utts) - count :]}.get(how) or _spread(utts, count)


def _spread(items: Sequence[str], count: int) -> list[str]:
    """Return `count` of the items, evenly spaced."""
    return [items[number * len(items) // count] for number in range(count)]
