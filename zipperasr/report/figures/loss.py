"""Loss curves: training loss (smoothed) and dev loss per step, with a panel for each phase.

In: trainings. Out: one PNG per encoder regime; each system has one colour, full context is dashed. The training loss is
a running mean over 2 % of the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zipperasr.audio.segments import REGIMES
from zipperasr.report.collect import Run, Training
from zipperasr.report.figures.selection import trainings
from zipperasr.report.figures.style import figure, system_colour

MOST_WITH_TRAIN = 3  # trainings per panel; with more, only dev losses are drawn
PANELS = {"align": "Alignment", "sft": "Adaptation", "other": "Other runs"}


def draw(run: Run, directory: Path) -> dict[str, Path]:
    """One figure per regime, with the first seed of each system."""
    drawn = {}
    for regime in REGIMES:
        if draw_loss(path := directory / f"loss_{regime}.png", trainings(run, regime)):
            drawn[f"Loss curves, {regime} encoder"] = path
    return drawn


def draw_loss(path: Path, shown: Sequence[Training]) -> bool:
    """False, and nothing drawn, without a training log."""
    phases = [phase for phase in PANELS if any(t.model.phase == phase and t.train for t in shown)]
    if not phases:
        return False
    labels = list(dict.fromkeys(training.model.label for training in shown))
    with figure(path, 5.2 * len(phases), 3.8, columns=len(phases)) as (_, axes):
        for axis, phase in zip(axes, phases, strict=True):
            members = [training for training in shown if training.model.phase == phase and training.train]
            for training in members:
                _draw_one(
                    axis,
                    training,
                    system_colour(training.model.label, labels.index(training.model.label)),
                    len(members) <= MOST_WITH_TRAIN,
                )
            axis.set_title(PANELS[phase])
            axis.set_xlabel("optimiser step")
            axis.set_ylabel("cross-entropy per label token, nat")
            axis.set_ylim(bottom=0)
            axis.legend(fontsize=8)
    return True


def _draw_one(axis, training: Training, line_colour: str, with_train: bool) -> None:
    name = f"{training.model.label} ({training.model.regime})".replace(" ()", "")
    steps, losses = _curve(training.train)
    window = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    style = {"color": line_colour, "linestyle": "--" if training.model.regime == "full" else "-"}
    if with_train or not training.dev:
        axis.plot(steps[window - 1 :], smooth, linewidth=0.9, alpha=0.55, label=f"{name}, train", **style)
    if training.dev:
        axis.plot(*_curve(training.dev), linewidth=1.6, marker="o", markersize=4, label=f"{name}, dev", **style)


def _curve(rows: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row["step"] for row in rows]), np.array([row["loss"] for row in rows], dtype=float)
