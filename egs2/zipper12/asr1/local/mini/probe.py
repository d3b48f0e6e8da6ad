"""A linear probe for phonemes on frozen features.

In: padded features of utterances, and their phonemes as numbers from 1. Out: phoneme error rate of greedy CTC decoding.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from zipperasr.score.sclite.align import align_all

_EPOCHS, _LR = 12, 1e-2
_SEED = 98


@dataclass(frozen=True)
class Features:
    """A batch of utterances."""

    rows: Tensor  # (utterances, rows, width), padded
    counts: list[int]  # rows of each utterance
    units: Tensor  # of all utterances, end to end
    num_units: Tensor  # of each utterance


class PhonemeProbe(nn.Module):
    """A linear CTC head: width -> steps * (phonemes + 1), with `steps` CTC steps per row of features."""

    def __init__(self, head: nn.Linear, steps: int = 1):
        super().__init__()
        self.head, self.steps = head, steps

    @classmethod
    def fitted(cls, batches: Sequence[Features], num_units: int, steps: int = 1) -> PhonemeProbe:
        """Train a probe on `batches` with CTC."""
        torch.manual_seed(_SEED)
        width = batches[0].rows.shape[-1]
        probe, rng = cls(nn.Linear(width, steps * (num_units + 1)), steps), random.Random(_SEED)
        optimiser = torch.optim.AdamW(probe.parameters(), lr=_LR)
        for epoch in range(_EPOCHS):
            for group in optimiser.param_groups:
                group["lr"] = _LR * (1 - epoch / _EPOCHS)
            for batch in rng.sample(batches, len(batches)):
                log_probs = probe(batch.rows).log_softmax(-1).transpose(0, 1)
                counts = torch.tensor(batch.counts) * steps
                functional.ctc_loss(log_probs, batch.units, counts, batch.num_units, zero_infinity=True).backward()
                optimiser.step()
                optimiser.zero_grad()
        return probe

    def forward(self, rows: Tensor) -> Tensor:
        """(utterances, rows, width) -> (utterances, steps * rows, phonemes + 1)."""
        return self.head(rows).unflatten(-1, (self.steps, -1)).flatten(1, 2)

    @torch.no_grad()
    def error(self, batches: Sequence[Features]) -> float:
        """Return the number of errors per phoneme."""
        pairs = []
        for batch in batches:
            references = batch.units.split(batch.num_units.tolist())
            for scores, count, reference in zip(self(batch.rows), batch.counts, references, strict=True):
                best = scores[: count * self.steps].argmax(-1).unique_consecutive()
                pairs.append((reference.tolist(), best[best > 0].tolist()))
        errors = sum(len(operations) - operations.count("C") for operations in align_all(pairs))
        return round(errors / sum(len(reference) for reference, _ in pairs), 4)
