"""Divide a test set into the batches that are encoded together.

In: a manifest, decoding settings. Out: rows of the manifest. Batches depend on nothing else, so that a test set that is
decoded in shards, which are lists of whole batches, gets the same encoder outputs bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zipperasr.audio.log_mel import SAMPLE_RATE
from zipperasr.batching.manifest import Manifest
from zipperasr.decode.decode_config import DecodeConfig


@dataclass(frozen=True)
class SetToDecode:
    """A test set, or the part of it that a shard decodes."""

    manifest: Manifest
    batches: Sequence[Sequence[int]]  # rows of the manifest
    inputs: dict[str, str]  # fingerprint that its output is marked with

    @property
    def rows(self) -> list[int]:
        """All rows, in the order of the manifest."""
        return sorted(row for batch in self.batches for row in batch)

    @property
    def audio_s(self) -> float:
        return float(self.manifest.num_samples[self.rows].sum()) / SAMPLE_RATE


def plan_batches(manifest: Manifest, config: DecodeConfig) -> list[list[int]]:
    """Return batches of utterances of similar length, limited in positions and utterances.

    Lengths are those of the manifest, before any silence is removed.
    """
    positions = manifest.positions - manifest.num_tokens  # prompt and speech
    batches: list[list[int]] = []
    batch: list[int] = []
    for row in manifest.num_samples.argsort(kind="stable").tolist():
        is_full = len(batch) == config.batch_size or (len(batch) + 1) * positions[row] > config.batch_positions
        if batch and is_full:
            batches.append(batch)
            batch = []
        batch.append(row)
    return [*batches, batch] if batch else batches
