"""Pack utterances of one language, and group packs into the global batches of an epoch.

In: manifests. Out: packs, a pure function of (seed, epoch): every rank computes the same packs, and a resumed run needs
no stored position. Utterances are packed within shuffled windows, so that packs differ between epochs. An epoch is
stored as arrays, about 15 bytes per utterance, with speeds 16; a Pack is created on access. Large sets are divided into
shards, which several processes pack; the packs do not depend on the number of processes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from zipperasr.batching.bin_packing import best_fit, complete_bins
from zipperasr.batching.manifest import Manifest
from zipperasr.batching.speeds import at_speeds, change_lengths, known_speeds
from zipperasr.parallel import processes

WINDOW = 4096  # utterances that are packed together
SHARD = 1 << 20  # utterances of a language that are packed independently of its other ones
CARRY_PACKS = 4  # about as many packs of leftovers are carried into the next window


@dataclass(frozen=True)
class Pack:
    """Utterances of one language that share a sequence of the LLM."""

    language: str
    rows: tuple[tuple[int, int], ...]  # (index of the manifest, row in it)
    positions: int
    num_tokens: int  # labels, end tokens included
    num_samples: int
    speeds: tuple[float, ...] = ()  # of the rows; () if none is changed


@dataclass(frozen=True, eq=False)
class Packs(Sequence[Pack]):
    """The packs of an epoch as arrays. An integer index returns a Pack, a slice or array selects packs."""

    codes: tuple[str, ...]
    manifest: np.ndarray  # (utterances,) of all packs, end to end
    row: np.ndarray  # (utterances,)
    language: np.ndarray  # (packs,) index into codes; (packs,) like all below
    start: np.ndarray  # the pack's first utterance
    num_utts: np.ndarray
    positions: np.ndarray
    num_tokens: np.ndarray
    num_samples: np.ndarray  # at their speeds
    speeds: np.ndarray | None = None  # all that occur
    speed: np.ndarray | None = None  # (utterances,) index into speeds; None if none is changed

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, index):
        if not isinstance(index, int | np.integer):
            by_pack = ("language", "start", "num_utts", "positions", "num_tokens", "num_samples")
            return replace(self, **{name: getattr(self, name)[index] for name in by_pack})
        mine = slice(self.start[index], self.start[index] + self.num_utts[index])
        return Pack(
            language=self.codes[self.language[index]],
            rows=tuple(zip(self.manifest[mine].tolist(), self.row[mine].tolist(), strict=True)),
            positions=int(self.positions[index]),
            num_tokens=int(self.num_tokens[index]),
            num_samples=int(self.num_samples[index]),
            speeds=() if self.speed is None else tuple(self.speeds[self.speed[mine]].tolist()),
        )


def pack_epoch(
    manifests: Sequence[Manifest],
    max_positions: int,
    seed: int,
    epoch: int,
    language_sampling: float = 1.0,
    num_processes: int = 1,
    speeds: Sequence[float] = (),
) -> Packs:
    """Return all packs of an epoch in random order. Utterances are repeated as often as in their list.

    Args:
        max_positions: capacity of a pack; longer utterances are left out.
        language_sampling: exponent, see `resampled`.
        num_processes: at most this many pack, one for every `SHARD` utterances.
        speeds: factors drawn for the utterances, see `at_speeds`; () for none.
    """
    rng = random.Random(f"pack {seed} {epoch}")
    by_language = _by_language(manifests, max_positions)
    if language_sampling != 1.0:
        by_language = resampled(by_language, language_sampling, np.random.default_rng([seed, epoch]))
    if speeds:
        drawn = np.random.default_rng(random.Random(f"speed {seed} {epoch}").getrandbits(64))
        for language, mine in sorted(by_language.items()):
            by_language[language] = at_speeds(mine, manifests, speeds, max_positions, drawn)
    num_utts = sum(map(len, by_language.values()))
    shards = _shards([mine for _, mine in sorted(by_language.items())], rng)
    items, lengths, languages = [], [], []
    with processes(min(num_processes, num_utts // SHARD), partial(_pack_shard, capacity=max_positions)) as pack_all:
        for number, chosen, sizes in pack_all(shards):
            items.append(chosen)
            lengths.append(sizes)
            languages.append(np.full(len(sizes), number, dtype=np.int16))
    packs = _as_arrays(tuple(sorted(by_language)), manifests, items, lengths, languages, speeds)
    return packs[np.random.default_rng(rng.getrandbits(64)).permutation(len(packs))]


def resampled(by_language: dict[str, np.ndarray], exponent: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Resample languages by their share ** exponent (XLM's alpha, arXiv 1901.07291, Sec. 3.1), keeping the total.

    1: shares as in the data; 0: equal shares. The utterances of a language are repeated equally often, give or take
    one; the additional ones are drawn at random.
    """
    weights = {language: len(items) ** exponent for language, items in by_language.items()}
    total = sum(map(len, by_language.values()))
    drawn = {}
    for language, items in sorted(by_language.items()):
        wanted = max(1, round(total * weights[language] / sum(weights.values())))
        whole, rest = divmod(wanted, len(items))
        drawn[language] = np.concatenate([*[items] * whole, items[rng.permutation(len(items))[:rest]]])
    return drawn


def global_batches(num_packs: int, packs_per_batch: int) -> np.ndarray:
    """Return the indices of the packs of each batch: (batches, packs_per_batch), in order.

    The last batch is filled with the first packs of the epoch. Raises ValueError if there are fewer packs than one
    batch needs.
    """
    if num_packs < packs_per_batch:
        raise ValueError(
            f"{num_packs} packs of training data do not fill one global batch of {packs_per_batch}; "
            "lower packs_per_batch, accumulation or the number of processes"
        )
    return (np.arange(num_packs + -num_packs % packs_per_batch) % num_packs).reshape(-1, packs_per_batch)


def fill(packs: Packs, max_positions: int) -> float:
    """Return the fill rate: the share of positions that are used."""
    return float(packs.positions.sum()) / (len(packs) * max_positions) if len(packs) else 0.0


def _by_language(manifests: Sequence[Manifest], max_positions: int) -> dict[str, np.ndarray]:
    """Return language -> (n, 3) int32: manifest, row, positions."""
    found: dict[str, list[np.ndarray]] = {}
    for number, manifest in enumerate(manifests):
        rows = np.repeat(np.arange(len(manifest), dtype=np.int32), manifest.repeat)
        rows = rows[manifest.positions[rows] <= max_positions]
        codes, of_row = manifest.language_codes
        for number_of_code, language in enumerate(codes):
            mine = rows if len(codes) == 1 else rows[of_row[rows] == number_of_code]
            if len(mine):
                items = [np.full_like(mine, number), mine, manifest.positions[mine].astype(np.int32)]
                found.setdefault(language, []).append(np.stack(items, axis=1))
    return {language: np.concatenate(parts) for language, parts in found.items()}


def _shards(by_language: Sequence[np.ndarray], rng: random.Random) -> Iterator[tuple[int, np.ndarray]]:
    """Yield shuffled items of `_by_language`, at most `SHARD` at a time, with the number of their language."""
    for number, mine in enumerate(by_language):
        order = np.random.default_rng(rng.getrandbits(64)).permutation(len(mine))
        for start in range(0, len(mine), SHARD):
            yield number, mine[order[start : start + SHARD]]


def _pack_shard(shard: tuple[int, np.ndarray], capacity: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Pack items (n, 3 or 4). Returns the language, the items in the order of their packs, and the packs' sizes."""
    number, items = shard
    ordered, lengths = [], []
    rest = items[:0]

    def close(window: np.ndarray, bins: list[list[int]]) -> None:
        ordered.append(window[[index for members in bins for index in members]])
        lengths.extend(map(len, bins))

    for start in range(0, len(items), WINDOW):
        window = np.concatenate([rest, items[start : start + WINDOW]])
        bins, left = complete_bins(window[:, 2], capacity, CARRY_PACKS * capacity)
        close(window, bins)
        rest = window[left]
    close(rest, best_fit(rest[:, 2], capacity))
    return number, np.concatenate(ordered), np.array(lengths, dtype=np.int32)


def _as_arrays(codes, manifests, items: list, lengths: list, languages: list, speeds: Sequence[float]) -> Packs:
    if not items:
        items, lengths, languages = [np.zeros((0, 4), np.int32)], [np.zeros(0, np.int32)], [np.zeros(0, np.int16)]
    number, row, positions, *speed = np.concatenate(items).T
    count = np.concatenate(lengths)
    start = np.concatenate([[0], np.cumsum(count)[:-1]]) if len(count) else np.zeros(0, dtype=np.int64)

    def of_packs(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, start) if len(start) else values

    tokens, samples = (np.empty(len(row), dtype=np.int64) for _ in range(2))
    for index, manifest in enumerate(manifests):
        mine = number == index
        tokens[mine], samples[mine] = manifest.num_tokens[row[mine]], manifest.num_samples[row[mine]]
    known, speed = (known_speeds(speeds), speed[0].astype(np.uint8)) if speeds else (None, None)
    if speeds:
        change_lengths(samples, speed, known)
    return Packs(
        codes=tuple(codes),
        manifest=number.astype(np.int16),
        row=row.copy(),
        language=np.concatenate(languages),
        start=start,
        num_utts=count,
        positions=of_packs(positions.astype(np.int64)),
        num_tokens=of_packs(tokens),
        num_samples=of_packs(samples),
        speeds=known,
        speed=speed,
    )
