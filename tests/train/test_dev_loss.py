"""Selecting the best evaluations, averaging their weights, and early stopping."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from zipperasr.train.dev_loss import BestWeights


class Model(nn.Module):
    """The part of a model that `save_trained` needs."""

    adapters = None

    def __init__(self, value: float):
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), value, dtype=torch.bfloat16))


def evaluated(out: Path, losses: list[float], average: int = 0, patience: int = 0) -> BestWeights:
    """Evaluate at steps 10, 20, ...; all weights equal the step."""
    best = BestWeights(out, average, patience, start_step=0)
    for number, loss in enumerate(losses, 1):
        best.add(10 * number, loss, Model(10.0 * number), active=True)
    return best


def test_the_best_weights_are_averaged_in_their_precision(tmp_path):
    best = evaluated(tmp_path, [3.0, 1.0, 2.0, 1.0, 5.0], average=3)
    assert best.steps() == [20, 40, 30]
    assert {path.name for path in (tmp_path / "best").iterdir()} == {f"step-{n}.safetensors" for n in (20, 30, 40)}
    mean = best.mean()
    assert mean["weight"].dtype == torch.bfloat16 and mean["weight"].tolist() == [30.0] * 3


def test_without_averaging_nothing_is_kept(tmp_path):
    assert evaluated(tmp_path, [3.0, 1.0]).mean() is None
    assert not (tmp_path / "best").exists()


@pytest.mark.parametrize(
    ("losses", "patience", "stops"),
    [
        ([3, 2, 1], 1, False),
        ([3, 2, 2], 1, True),
        ([1, 2, 3], 3, False),
        ([1, 2, 3, 4], 3, True),
        ([1, 2, 3], 0, False),
    ],
)
def test_training_stops_after_patience_evaluations_without_improvement(tmp_path, losses, patience, stops):
    assert evaluated(tmp_path, losses, patience=patience).wants_to_stop() == stops


def test_a_resumed_training_considers_only_evaluations_before_its_checkpoint(tmp_path):
    rows = [{"step": step, "loss": loss} for step, loss in ((10, 2.0), (20, 1.0), (30, 0.5))]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 40, "lo')
    for step in (10, 20, 30):
        (tmp_path / "best").mkdir(exist_ok=True)
        save_file({"weight": torch.full((3,), float(step))}, tmp_path / "best" / f"step-{step}.safetensors")
    best = BestWeights(tmp_path, 2, 0, start_step=20)
    assert best.steps() == [20, 10]
    assert best.mean()["weight"].tolist() == [15.0] * 3
