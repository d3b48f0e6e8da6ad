"""Draw the speed of each utterance of an epoch, before it is packed: it changes the number of positions.

In: items of packing.py. Out: the same items with their positions at that speed, and the speed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zipperasr.audio.augment import changed_length
from zipperasr.audio.segments import num_positions
from zipperasr.batching.manifest import Manifest

UNCHANGED = 1.0


def known_speeds(factors: Sequence[float]) -> np.ndarray:
    """Return the speeds that items refer to by index."""
    return np.array([UNCHANGED, *factors])


def at_speeds(
    items: np.ndarray, manifests: Sequence[Manifest], factors: Sequence[float], capacity: int, rng: np.random.Generator
) -> np.ndarray:
    """Return items (n, 4): manifest, row, positions at the drawn speed, index of the speed in `known_speeds`.

    Each factor is drawn equally often, give or take one; each occurrence of a repeated utterance has its own. An
    utterance that would not fit into a pack remains unchanged.

    Args:
        items: (n, 3): manifest, row, positions.
        capacity: positions of a pack.
    """
    speeds, index = known_speeds(factors), 1 + rng.permutation(len(items)) % len(factors)
    samples = _num_samples(items, manifests)
    added = num_positions(changed_length(samples, speeds[index])) - num_positions(samples)
    fits = items[:, 2] + added <= capacity
    positions = items[:, 2] + np.where(fits, added, 0)
    return np.column_stack([items[:, :2], positions, np.where(fits, index, 0)]).astype(np.int32)


def _num_samples(items: np.ndarray, manifests: Sequence[Manifest]) -> np.ndarray:
    """Return the samples of items in their recordings. (n,)"""
    samples = np.empty(len(items), dtype=np.int64)
    for number, manifest in enumerate(manifests):
        mine = items[:, 0] == number
        samples[mine] = manifest.num_samples[items[mine, 1]]
    return samples
