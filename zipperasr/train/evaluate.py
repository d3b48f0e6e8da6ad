"""Dev loss per label, over all languages and for each.

In: the engine and the dev packs, each rank its share. Out: {"loss": ..., "loss_de": ...}, equal on all ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed

from zipperasr.data.loader import MicroBatches, prefetched


@torch.no_grad()
def dev_losses(
    engine, data: MicroBatches, codes: Sequence[str], chunk_frames: int | None, num_workers: int
) -> dict[str, float]:
    """Evaluate one pack at a time, so that every loss belongs to one language.

    data: this rank's dev packs, perhaps none. codes: languages of all ranks' dev packs, equal on all ranks.
    """
    sums = torch.zeros(len(codes), 2, dtype=torch.float64)
    engine.eval()
    for batch in prefetched(data, 0, num_workers):
        loss, _, weight = engine.module(batch.to(engine.device), chunk_frames)
        sums[codes.index(batch.speech.languages[0])] += torch.tensor([loss.item(), weight.item()], dtype=torch.float64)
    sums = sums.to(engine.device if engine.device.type == "cuda" else "cpu")
    distributed.all_reduce(sums)
    loss, labels = sums.sum(0).tolist()
    per_language = {f"loss_{code}": round(a / b, 5) for code, (a, b) in zip(codes, sums.tolist(), strict=True) if b}
    return {"loss": round(loss / labels, 5), **per_language}
