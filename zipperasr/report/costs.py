"""Cost of training: trained parameters, time per optimiser step, peak memory.

In: trainings. Out: a Markdown table; parameter counts for the claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from zipperasr.markdown import table
from zipperasr.model.checkpoint import count_trained
from zipperasr.model.experiment import WEIGHTS
from zipperasr.report.collect import Training


def costs_table(trainings: Sequence[Training]) -> str:
    """One line per adapted system and regime; empty if no training has finished."""
    runs: dict[tuple[str, str], list[Training]] = {}
    for training in trainings:
        if training.model.phase == "sft" and (training.model.directory / WEIGHTS).is_file():
            runs.setdefault((training.model.system, training.model.regime), []).append(training)
    rows = []
    for (system, regime), of_system in runs.items():
        adapters, everything = count_trained(of_system[0].model.directory / WEIGHTS)
        times = [seconds for training in of_system for seconds in step_seconds(training)]
        peaks = [row["peak_gb"] for training in of_system for row in training.train if "peak_gb" in row]
        step = f"{1000 * median(times):.0f}" if times else "–"
        rows.append([f"`{system}`", regime, f"{adapters:,}", f"{everything:,}", step, _gigabytes(peaks)])
    header = ["system", "encoder", "trained: encoder's LoRA and router", "trained in total", "ms per step", "peak GB"]
    return table(header, rows, 2) if rows else ""


def encoder_parameters(trainings: Sequence[Training]) -> dict[str, int]:
    """{label: trained parameters of the encoder's LoRA and router} of finished trainings."""
    return {
        training.model.label: count_trained(training.model.directory / WEIGHTS)[0]
        for training in trainings
        if training.model.phase == "sft" and (training.model.directory / WEIGHTS).is_file()
    }


def step_seconds(training: Training) -> list[float]:
    """Seconds per optimiser step for each line of train.jsonl but the first, which includes start-up."""
    return [
        row["seconds"] / (row["step"] - before["step"]) for before, row in pairwise(training.train) if "seconds" in row
    ]


def _gigabytes(peaks: Sequence[float]) -> str:
    return f"{max(peaks):.2f}" if peaks else "–"
