"""The dev loss: measure it, stop early by it, and average the weights of the best evaluations.

All decisions follow from dev.jsonl, so a resumed training makes the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, distributed

from zipperasr.batching.batch import PackedBatch
from zipperasr.model.checkpoint import save_trained, trained_state
from zipperasr.model.weights_file import load_weights

BEST = "best"  # directory below the training directory


@torch.no_grad()
def dev_losses(
    engine, batches: Iterable[PackedBatch], codes: Sequence[str], chunk_frames: int | None
) -> dict[str, float]:
    """Loss per label over all languages and for each: {"loss": ..., "loss_de": ...}, equal on all ranks.

    Args:
        batches: this rank's dev packs, one pack per batch, so that every loss belongs to one language; may be empty.
        codes: languages of all ranks' dev packs.
    """
    # The sums stay on the device, so that the host does not wait for each pack.
    sums = torch.zeros(len(codes), 2, dtype=torch.float64, device=engine.device)
    engine.eval()
    for batch in batches:
        loss, _, num_labels = engine.module(batch.to(engine.device), chunk_frames)
        of_language = sums[codes.index(batch.speech.languages[0])]
        of_language[0] += loss
        of_language[1] += num_labels
    engine.train()
    distributed.all_reduce(sums)
    sums = sums.cpu()
    loss, num_labels = sums.sum(0).tolist()
    per_language = {f"loss_{code}": round(a / b, 5) for code, (a, b) in zip(codes, sums.tolist(), strict=True) if b}
    return {"loss": round(loss / num_labels, 5), **per_language}


class BestWeights:
    """Keeps best/step-N.safetensors of the `average` best evaluations (0: none).

    Args:
        out: training directory.
        patience: evaluations without improvement after which training should stop (0: never).
        start_step: evaluations in dev.jsonl after this step are ignored.
    """

    def __init__(self, out: Path, average: int, patience: int, start_step: int):
        self._directory, self._average, self._patience = out / BEST, average, patience
        self._losses = {step: loss for step, loss in _losses(out / "dev.jsonl") if step <= start_step}

    def add(self, step: int, loss: float, model, active: bool) -> None:
        """Record an evaluation. If `active` (rank 0), save the weights if they are among the best."""
        self._losses[step] = loss
        best = self.steps()
        if not active or step not in best:
            return
        save_trained(model, self._directory / f"step-{step}.safetensors", trained_state(model))
        for path in self._directory.glob("step-*.safetensors"):
            if int(path.stem.removeprefix("step-")) not in best:
                path.unlink()

    def steps(self) -> list[int]:
        """Steps of the best evaluations, best first; ties go to the earlier step."""
        return sorted(self._losses, key=lambda step: (self._losses[step], step))[: self._average]

    def wants_to_stop(self) -> bool:
        """True if none of the last `patience` evaluations is the best."""
        if not self._patience or not self._losses:
            return False
        steps = sorted(self._losses)
        best = min(steps, key=lambda step: (self._losses[step], step))
        return len(steps) - 1 - steps.index(best) >= self._patience

    def mean(self) -> dict[str, Tensor] | None:
        """The mean of the best weights, in their own precision; None if `average` is 0."""
        files = [load_weights(self._directory / f"step-{step}.safetensors") for step in self.steps()]
        if not files:
            return None
        mean = {name: torch.stack([file[name].double() for file in files]).mean(0) for name in files[0]}
        return {name: tensor.to(files[0][name].dtype) for name, tensor in mean.items()}


def _losses(path: Path) -> list[tuple[int, float]]:
    if not path.is_file():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    return [(row["step"], row["loss"]) for row in map(json.loads, lines)]
