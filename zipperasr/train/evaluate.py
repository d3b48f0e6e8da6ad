"""Dev loss per label, over all languages and for each.

In: the engine and the dev packs, each rank its share. Out: {"loss": ..., "loss_de": ...}, equal on all ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import distributed

from zipperasr.batching.batch import PackedBatch


@torch.no_grad()
def dev_losses(
    engine, batches: Iterable[PackedBatch], codes: Sequence[str], chunk_frames: int | None
) -> dict[str, float]:
    """Evaluate one pack at a time, so that every loss belongs to one language.

    batches: this rank's dev packs, perhaps none. codes: languages of all ranks' dev packs, equal on all ranks. The
    sums stay on the device until all packs are done: the host does not wait in between.
    """
    sums = torch.zeros(len(codes), 2, dtype=torch.float64, device=engine.device)
    engine.eval()
    for batch in batches:
        loss, _, weight = engine.module(batch.to(engine.device), chunk_frames)
        of_language = sums[codes.index(batch.speech.languages[0])]
        of_language[0] += loss
        of_language[1] += weight
    distributed.all_reduce(sums)
    sums = sums.cpu()
    loss, labels = sums.sum(0).tolist()
    per_language = {f"loss_{code}": round(a / b, 5) for code, (a, b) in zip(codes, sums.tolist(), strict=True) if b}
    return {"loss": round(loss / labels, 5), **per_language}
