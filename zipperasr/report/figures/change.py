"""Error rates relative to vanilla LoRA on the low-resource languages, in both data settings (the paper's Fig. 6).

In: decodings. Out: one PNG. Bars above zero are improvements; whiskers are standard deviations over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from zipperasr.report.collect import Run, by_system
from zipperasr.report.figures.selection import legible
from zipperasr.report.figures.style import figure, system_colour
from zipperasr.report.groups import LOW
from zipperasr.report.tables import mean_rate

BASELINE = "vanilla"


def draw(run: Run, directory: Path) -> dict[str, Path]:
    """One figure with a panel per setting and regime."""
    panels: dict[str, dict[str, list[float]]] = {}
    for runs in by_system([decoding for decoding in legible(run.decodings) if decoding.model.phase == "sft"]):
        rates = [mean_rate(decoding, LOW, run.groups, run.languages) for decoding in runs]
        if None not in rates:
            title = f"{runs[0].model.setting.removesuffix('h')} h, {runs[0].regime} encoder"
            panels.setdefault(title, {})[runs[0].model.label] = rates
    path = directory / "change.png"
    drawn = draw_changes(path, panels)
    return {"Low-resource languages relative to vanilla (the paper's Fig. 6)": path} if drawn else {}


def relative_changes(rates: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Improvement over vanilla's mean in per cent of it, per system and seed. rates: {system: one rate per seed}."""
    baseline = fmean(rates[BASELINE])
    return {
        system: [100 * (baseline - rate) / baseline for rate in by_seed]
        for system, by_seed in rates.items()
        if system != BASELINE
    }


def draw_changes(path: Path, settings: Mapping[str, Mapping[str, Sequence[float]]]) -> bool:
    """settings: {title: {system: one rate per seed}}. False, and nothing drawn, without vanilla and another system."""
    panels = {
        title: relative_changes(rates) for title, rates in settings.items() if BASELINE in rates and len(rates) > 1
    }
    if not panels:
        return False
    systems = list(dict.fromkeys(system for changes in panels.values() for system in changes))
    width_in = max(5.0, 2.0 + 0.45 * len(systems) * len(panels))
    with figure(path, width_in, 3.8, columns=len(panels), sharey=True) as (_, axes):
        for axis, (title, changes) in zip(axes, panels.items(), strict=True):
            for system, by_seed in changes.items():
                place = systems.index(system)
                whisker = stdev(by_seed) if len(by_seed) > 1 else 0.0
                axis.bar(place, fmean(by_seed), 0.7, yerr=whisker, color=system_colour(system, place), capsize=3)
            axis.axhline(0, color="#777777", linewidth=0.8)
            axis.set_xticks(np.arange(len(systems)), systems, rotation=35, ha="right")
            axis.grid(False, axis="x")
            axis.set_title(title)
        axes[0].set_ylabel(f"better than {BASELINE}, % of its error rate")
    return True
