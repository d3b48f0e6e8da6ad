"""Packs of one language, and the global batches of an epoch.

In: manifests. Out: lists of packs, a pure function of (seed, epoch): every rank computes the same plan, and a
resumed run needs no stored position. Best fit, longest first, within a shuffled window: nearly full packs that
still differ from epoch to epoch.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from zipperasr.data.manifest import Manifest

WINDOW = 4096  # utterances that are packed together


@dataclass(frozen=True)
class Pack:
    """Utterances of one language that share a row of the LLM's input."""

    language: str
    rows: tuple[tuple[int, int], ...]  # (index of the manifest, row in it)
    positions: int
    num_tokens: int  # labels, end tokens included
    num_samples: int


def pack_epoch(
    manifests: Sequence[Manifest], max_positions: int, seed: int, epoch: int, language_sampling: float = 1.0
) -> list[Pack]:
    """All packs of an epoch in random order. An utterance enters as often as its list repeats it.

    language_sampling: as in `resampled`. Utterances longer than max_positions are left out.
    """
    rng = random.Random(f"pack {seed} {epoch}")
    packs = []
    by_language = _by_language(manifests, max_positions)
    if language_sampling != 1.0:
        by_language = resampled(by_language, language_sampling, np.random.default_rng([seed, epoch]))
    for language, items in sorted(by_language.items()):
        order = np.random.default_rng(rng.getrandbits(64)).permutation(len(items))
        for start in range(0, len(items), WINDOW):
            window = items[order[start : start + WINDOW]]
            packs += [
                _make_pack(language, manifests, window[members]) for members in best_fit(window[:, 2], max_positions)
            ]
    rng.shuffle(packs)
    return packs


def resampled(by_language: dict[str, np.ndarray], exponent: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """As many utterances in all, each language by its share ** exponent (XLM's alpha, arXiv 1901.07291, Sec. 3.1).

    1: as the data are; 0: all languages alike. Every utterance comes equally often, give or take one; which come
    once more is drawn.
    """
    weights = {language: len(items) ** exponent for language, items in by_language.items()}
    total = sum(map(len, by_language.values()))
    drawn = {}
    for language, items in sorted(by_language.items()):
        wanted = max(1, round(total * weights[language] / sum(weights.values())))
        whole, rest = divmod(wanted, len(items))
        drawn[language] = np.concatenate([*[items] * whole, items[rng.permutation(len(items))[:rest]]])
    return drawn


def best_fit(sizes: np.ndarray, capacity: int) -> list[list[int]]:
    """Best-fit decreasing: indices of `sizes` by bin. sizes: (n,), none above capacity."""
    bins: list[list[int]] = []
    open_bins: list[tuple[int, int]] = []  # (room left, bin), sorted
    for index in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[index])
        place = bisect.bisect_left(open_bins, (size, 0))
        if place < len(open_bins):
            room, number = open_bins.pop(place)
        else:
            room, number = capacity, len(bins)
            bins.append([])
        bins[number].append(index)
        if room > size:
            bisect.insort(open_bins, (room - size, number))
    return bins


def global_batches(packs: Sequence[Pack], packs_per_batch: int) -> list[list[Pack]]:
    """Consecutive groups of packs_per_batch. The last one is filled up with packs from the front of the epoch.

    Raises ValueError if there are fewer packs than one batch takes.
    """
    if len(packs) < packs_per_batch:
        raise ValueError(
            f"{len(packs)} packs of training data do not fill one global batch of {packs_per_batch}; "
            "lower packs_per_batch, accumulation or the number of processes"
        )
    missing = -len(packs) % packs_per_batch
    packs = [*packs, *packs[:missing]]
    return [packs[start : start + packs_per_batch] for start in range(0, len(packs), packs_per_batch)]


def fill(packs: Sequence[Pack], max_positions: int) -> float:
    """Share of all packed positions that hold something."""
    return sum(pack.positions for pack in packs) / (len(packs) * max_positions) if packs else 0.0


def _by_language(manifests: Sequence[Manifest], max_positions: int) -> dict[str, np.ndarray]:
    """language -> (n, 3): manifest, row, positions."""
    found: dict[str, list[np.ndarray]] = {}
    for number, manifest in enumerate(manifests):
        rows = np.repeat(np.arange(len(manifest)), manifest.repeat)
        rows = rows[manifest.positions[rows] <= max_positions]
        languages = manifest.languages[rows]
        for language in np.unique(languages):
            mine = rows[languages == language]
            items = np.stack([np.full_like(mine, number), mine, manifest.positions[mine].astype(mine.dtype)], axis=1)
            found.setdefault(str(language), []).append(items)
    return {language: np.concatenate(parts) for language, parts in found.items()}


def _make_pack(language: str, manifests: Sequence[Manifest], items: np.ndarray) -> Pack:
    rows = tuple((int(number), int(row)) for number, row, _ in items)
    return Pack(
        language=language,
        rows=rows,
        positions=int(items[:, 2].sum()),
        num_tokens=sum(int(manifests[number].num_tokens[row]) for number, row in rows),
        num_samples=sum(int(manifests[number].num_samples[row]) for number, row in rows),
    )
