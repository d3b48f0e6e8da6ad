"""Which decodings and trainings a figure shows: few enough to tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from zipperasr.report.collect import ALIGNMENT, Decoding, Run, Training, main_setting
from zipperasr.report.paper import SYSTEMS

MOST_SYSTEMS = 9  # per figure
Item = TypeVar("Item", Decoding, Training)


def of_regime(run: Run, regime: str) -> list[Decoding]:
    """Decodings of the main setting with this encoder regime."""
    return legible([decoding for decoding in main_setting(run.decodings) if decoding.regime == regime])


def trainings(run: Run, regime: str | None = None) -> list[Training]:
    """The first seed of each system in the main setting; regime: only trainings with this encoder regime."""
    first: dict[tuple[str, str], Training] = {}
    for training in run.trainings:
        first.setdefault((training.model.system, training.model.regime), training)
    chosen = main_setting(first.values())
    return legible([training for training in chosen if regime in (None, training.model.regime)])


def legible(items: Sequence[Item]) -> list[Item]:
    """All items if they belong to few systems, else those of the paper's systems."""
    labels = {item.model.label for item in items}
    kept = labels if len(labels) <= MOST_SYSTEMS else {ALIGNMENT, *SYSTEMS}
    return [item for item in items if item.model.label in kept]
