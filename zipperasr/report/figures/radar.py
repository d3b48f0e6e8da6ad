"""Radar of 100 minus the error rate over the target languages (the paper's Fig. 5).

In: decodings of adapted models. Out: one PNG per encoder regime. Rates above 100 % are drawn as 100 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from zipperasr.audio.segments import REGIMES
from zipperasr.report.collect import Decoding, Run, by_system
from zipperasr.report.figures.selection import of_regime
from zipperasr.report.figures.style import figure, system_colour
from zipperasr.report.groups import TARGETS
from zipperasr.report.tables import rate_by_language

FEWEST = 3  # languages; systems: at least two


def draw(run: Run, directory: Path) -> dict[str, Path]:
    """One figure per regime."""
    drawn = {}
    codes = [*run.groups.high, *run.groups.low]
    for regime in REGIMES:
        rates = _mean_rates(run, [d for d in of_regime(run, regime) if d.model.phase != "align"])
        if draw_radar(path := directory / f"radar_{regime}.png", codes, rates, f"{regime} encoder"):
            drawn[f"Target languages, {regime} encoder (the paper's Fig. 5)"] = path
    return drawn


def draw_radar(path: Path, codes: Sequence[str], rates: Mapping[str, Mapping[str, float]], title: str) -> bool:
    """rates: {system: {code: rate in per cent}}. False, and nothing drawn, with fewer than two complete systems."""
    complete = {system: by_code for system, by_code in rates.items() if all(code in by_code for code in codes)}
    if len(codes) < FEWEST or len(complete) < 2:
        return False
    angles = np.linspace(0, 2 * np.pi, len(codes), endpoint=False)
    with figure(path, 6.4, 6.4, subplot_kw={"projection": "polar"}) as (drawing, (axis,)):
        for place, (system, by_code) in enumerate(complete.items()):
            scores = [100 - min(by_code[code], 100.0) for code in codes]
            closed = [*scores, scores[0]]
            axis.plot([*angles, angles[0]], closed, color=system_colour(system, place), linewidth=1.5, label=system)
        axis.set_xticks(angles, codes)
        axis.set_rlabel_position(np.degrees(angles[1]) / 2)  # between two languages
        axis.set_ylim(0, 100)
        axis.set_title(f"{title}: 100 - error rate, %")
        drawing.legend(loc="outside lower center", ncols=3, fontsize=9)
    return True


def _mean_rates(run: Run, decodings: Sequence[Decoding]) -> dict[str, dict[str, float]]:
    """{system: {target language: mean over seeds}} of adapted models."""
    rates: dict[str, dict[str, float]] = {}
    for runs in by_system([decoding for decoding in decodings if decoding.model.phase == "sft"]):
        by_seed = [
            {
                code: rate
                for group in TARGETS
                for code, rate in rate_by_language(decoding, group, run.groups, run.languages).items()
            }
            for decoding in runs
        ]
        shared = set.intersection(*map(set, by_seed))
        rates[runs[0].model.label] = {code: fmean(rate[code] for rate in by_seed) for code in shared}
    return rates
