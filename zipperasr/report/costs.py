"""Cost of training: trained parameters, time per optimiser step, peak memory.

In: trainings. Out: a Markdown table; parameter counts for the claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from zipperasr.markdown import table
from zipperasr.report.collect import Training
from zipperasr.report.weight_facts import parameters


def costs_table(trainings: Sequence[Training]) -> str:
    """One line per adapted system and regime; empty if no training has finished."""
    runs: dict[tuple[str, str], list[Training]] = {}
    for training in trainings:
        if parameters(training):
            runs.setdefault((training.model.system, training.model.regime), []).append(training)
    rows = []
    for (system, regime), of_system in runs.items():
        counts = [f"{count:,}" for count in parameters(of_system[0]) or ()]
        times = [seconds for training in of_system for seconds in step_seconds(training)]
        peaks = [row["peak_gb"] for training in of_system for row in training.train if "peak_gb" in row]
        step = f"{1000 * median(times):.0f}" if times else "–"
        rows.append([f"`{system}`", regime, *counts, step, _gigabytes(peaks)])
    header = ["system", "encoder", "trained: encoder's LoRA and router", "trained in total", "ms per step", "peak GB"]
    return table(header, rows, 2) if rows else ""


def encoder_parameters(trainings: Sequence[Training]) -> dict[str, int]:
    """{label: trained parameters of the encoder's LoRA and router} of finished trainings."""
    return {t.model.label: counts[0] for t in trainings if (counts := parameters(t))}


def step_seconds(training: Training) -> list[float]:
    """Seconds per optimiser step for each line of train.jsonl but the first, which includes start-up."""
    return [
        row["seconds"] / (row["step"] - before["step"]) for before, row in pairwise(training.train) if "seconds" in row
    ]


def _gigabytes(peaks: Sequence[float]) -> str:
    return f"{max(peaks):.2f}" if peaks else "–"
