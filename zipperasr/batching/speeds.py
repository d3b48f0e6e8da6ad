"""Draw the speed of each utterance of an epoch, before it is packed: it changes the number of positions.

In: items of packing.py. Out: the same items with their positions at that speed, and the speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from zipperasr.audio.augment import changed_length
from zipperasr.audio.segments import num_positions
from zipperasr.batching.manifest import Manifest

UNCHANGED = 1.0
BLOCK = 1 << 17  # items that are computed together, so that large sets need little memory


def known_speeds(factors: Sequence[float]) -> np.ndarray:
    """Return the speeds that items refer to by index."""
    return np.array([UNCHANGED, *factors])


def at_speeds(
    items: np.ndarray, manifests: Sequence[Manifest], factors: Sequence[float], capacity: int, rng: np.random.Generator
) -> np.ndarray:
    """Return items (n, 4): manifest, row, positions at the drawn speed, index of the speed in `known_speeds`.

    Each factor is drawn equally often, give or take one per block. Each occurrence of a repeated utterance has its own.
    An utterance that would not fit into a pack remains unchanged.

    Args:
        items: (n, 3): manifest, row, positions.
        capacity: positions of a pack.
    """
    drawn = np.empty((len(items), 4), dtype=np.int32)
    for block in _blocks(len(items)):
        drawn[block] = _block_at_speeds(items[block], manifests, known_speeds(factors), capacity, rng)
    return drawn


def change_lengths(samples: np.ndarray, speed: np.ndarray, speeds: np.ndarray) -> None:
    """Replace numbers of samples (n,) by those at their speed; speed: (n,) index into `speeds`."""
    for block in _blocks(len(samples)):
        samples[block] = changed_length(samples[block], speeds[speed[block]])


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, size, BLOCK))


def _block_at_speeds(
    items: np.ndarray, manifests: Sequence[Manifest], speeds: np.ndarray, capacity: int, rng: np.random.Generator
) -> np.ndarray:
    index = 1 + rng.permutation(len(items)) % (len(speeds) - 1)
    samples = np.empty(len(items), dtype=np.int64)
    for number, manifest in enumerate(manifests):
        mine = items[:, 0] == number
        samples[mine] = manifest.num_samples[items[mine, 1]]
    added = num_positions(changed_length(samples, speeds[index])) - num_positions(samples)
    fits = items[:, 2] + added <= capacity
    return np.column_stack([items[:, :2], items[:, 2] + np.where(fits, added, 0), np.where(fits, index, 0)])
