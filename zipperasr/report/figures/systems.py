"""Mean error rate of each system on low-resource and high-resource languages, with 95 % intervals.

In: decodings of adapted models. Out: one PNG per encoder regime. The interval covers seeds and utterances, like those
of the paper's claims; utterances enter through the interval of each test set that stage 8 computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean

import numpy as np

from zipperasr.audio.segments import REGIMES
from zipperasr.languages import LanguageTable
from zipperasr.report.claims.resampling import Estimate, interval
from zipperasr.report.collect import Decoding, Run, by_system
from zipperasr.report.figures.selection import of_regime
from zipperasr.report.figures.style import figure, system_colour
from zipperasr.report.groups import HIGH, LOW, Groups
from zipperasr.report.tables import main_scores, mean_rate

FEWEST = 2  # systems
SE_PER_WIDTH = 1 / (2 * 1.959964)  # standard error of a normal distribution with a 95 % interval of width 1


def draw(run: Run, directory: Path) -> dict[str, Path]:
    """One figure per regime with two adapted systems or more."""
    drawn = {}
    for regime in REGIMES:
        adapted = [decoding for decoding in of_regime(run, regime) if decoding.model.phase == "sft"]
        panels = {group: estimates(adapted, group, run.groups, run.languages) for group in (LOW, HIGH)}
        if draw_systems(path := directory / f"systems_{regime}.png", panels):
            drawn[f"Systems with 95 % intervals, {regime} encoder"] = path
    return drawn


def draw_systems(path: Path, panels: Mapping[str, Mapping[str, Estimate]]) -> bool:
    """panels: {group: {system: estimate in per cent}}. False, and nothing drawn, with fewer than two systems."""
    panels = {group: found for group, found in panels.items() if len(found) >= FEWEST}
    if not panels:
        return False
    systems = list(dict.fromkeys(system for of_group in panels.values() for system in of_group))
    with figure(path, 1.8 + 3.4 * len(panels), 1.3 + 0.34 * max(len(systems), 5), columns=len(panels)) as (_, axes):
        for axis, (group, of_group) in zip(axes, panels.items(), strict=True):
            for row, system in enumerate(systems):
                if system in of_group:
                    found = of_group[system]
                    reach = [[found.value - found.low], [found.high - found.value]]
                    axis.errorbar(found.value, row, xerr=reach, fmt="o", capsize=3, color=system_colour(system, row))
            axis.set_yticks(range(len(systems)), systems if axis is axes[0] else [""] * len(systems))
            axis.set_ylim(len(systems) - 0.5, -0.5)
            axis.set_title(f"{group} languages")
            axis.set_xlabel("mean WER or CER, %")
            axis.grid(False, axis="y")
    return True


def estimates(
    decodings: Sequence[Decoding], group: str, groups: Groups, languages: LanguageTable
) -> dict[str, Estimate]:
    """{system: mean over the group's languages}, for systems that were decoded in all of them."""
    found = {}
    for runs in by_system(decodings):
        rates = [mean_rate(run, group, groups, languages) for run in runs]
        if None not in rates:
            variance = fmean(_variance_of_mean(run, group, groups, languages) for run in runs)
            found[runs[0].model.label] = interval(np.array(rates), variance)
    return found


def _variance_of_mean(decoding: Decoding, group: str, groups: Groups, languages: LanguageTable) -> float:
    """Variance over utterances of the mean over languages; test sets are independent, seeds share their utterances."""
    by_language: dict[str, list[float]] = {}
    for score in main_scores(decoding, languages):
        if groups.of(score) == group:
            error = (score.high - score.low) * SE_PER_WIDTH
            by_language.setdefault(score.language, []).append(error**2 if isfinite(error) else 0.0)
    of_language = [sum(variances) / len(variances) ** 2 for variances in by_language.values()]
    return sum(of_language) / len(of_language) ** 2
