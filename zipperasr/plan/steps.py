"""Estimate the number of optimiser steps of a phase from its hours of audio.

In: the hours of Table I, packs per step, a typical utterance. Out: `PhaseSteps`. The actual packs are known only after
stage 3; the assumptions are printed with the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from zipperasr.plan.text_lengths import mean_tokens
from zipperasr.prepare.dataset_table import DatasetRow
from zipperasr.train.train_config import TrainConfig


@dataclass(frozen=True)
class AssumedSpeech:
    """A typical utterance of the training data."""

    utterance_s: float = 10.0
    longest_s: float = 20.0  # in a micro-batch
    positions_per_s: float = 12.5  # speech, after the projector
    tokens_per_s: float = mean_tokens({})[0]  # transcript
    prompt_tokens: float = mean_tokens({})[1]
    fill: float = 0.99  # of a pack

    def in_languages(self, rows: Sequence[DatasetRow]) -> AssumedSpeech:
        """Return a copy with the text lengths of the rows' languages, weighted by their hours of training data."""
        hours: dict[str, float] = {}
        for row in rows:
            hours[row.language] = hours.get(row.language, 0.0) + (row.train_hours or 0.0)
        tokens_per_s, prompt_tokens = mean_tokens(hours)
        return replace(self, tokens_per_s=tokens_per_s, prompt_tokens=prompt_tokens)

    @property
    def labels_per_s(self) -> float:
        return self.tokens_per_s + 1 / self.utterance_s  # one end token per utterance

    @property
    def all_positions_per_s(self) -> float:
        return self.positions_per_s + self.labels_per_s + self.prompt_tokens / self.utterance_s

    def pack_s(self, max_positions: int) -> float:
        """Seconds of audio in a pack."""
        return self.fill * max_positions / self.all_positions_per_s

    def __str__(self) -> str:
        return (
            f"utterances of {self.utterance_s:g} s ({self.longest_s:g} s at most), {self.positions_per_s:g} speech "
            f"positions and {self.tokens_per_s:.1f} text tokens per second,\n{self.prompt_tokens:.1f} prompt tokens, "
            f"packs {100 * self.fill:g} % full"
        )


@dataclass(frozen=True)
class PhaseSteps:
    """Amount of data and number of steps of a phase."""

    hours: float
    packs: int  # per epoch
    packs_per_step: int
    epochs: int
    warmup: int
    hours_per_step: float

    @property
    def steps(self) -> int:
        return math.ceil(self.packs / self.packs_per_step) * self.epochs


def plan_phase(
    rows: Sequence[DatasetRow], train: TrainConfig, max_positions: int, num_gpus: int, speech: AssumedSpeech
) -> PhaseSteps:
    """Plan a phase. rows: its lines in datasets.tsv. Raises ValueError if one has no train_hours."""
    for row in rows:
        if row.train_hours is None:
            raise ValueError(f"datasets: {row.corpus} {row.language}: no train_hours; add the hours of training data")
    hours = sum(row.train_hours for row in rows)
    packs = math.ceil(hours * 3600 / speech.pack_s(max_positions))
    packs_per_step = train.packs_per_batch * train.accumulation * num_gpus
    steps = math.ceil(packs / packs_per_step) * train.epochs
    return PhaseSteps(
        hours=hours,
        packs=packs,
        packs_per_step=packs_per_step,
        epochs=train.epochs,
        warmup=max(1, round(steps * train.warmup_ratio)),
        hours_per_step=packs_per_step * speech.pack_s(max_positions) / 3600,
    )


def step_rows(phases: dict[str, PhaseSteps]) -> list[tuple[str, ...]]:
    """A table: one quantity per row, one phase per column."""
    lines = {
        "hours of audio": lambda p: f"{p.hours:,.0f}",
        "packs per epoch": lambda p: f"{p.packs:,}",
        "packs per step": lambda p: f"{p.packs_per_step:,}",
        "hours per step": lambda p: f"{p.hours_per_step:.2f}",
        "epochs": lambda p: f"{p.epochs}",
        "steps": lambda p: f"{p.steps:,}",
        "warm-up steps": lambda p: f"{p.warmup:,}",
    }
    return [("", *phases), *((name, *map(show, phases.values())) for name, show in lines.items())]
