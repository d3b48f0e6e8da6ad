"""Error rate bars: languages by systems, one panel per group of languages.

In: decodings. Out: one PNG per encoder regime. Bars are cut at 100 %, with the value as a label, so that one very high
error rate does not flatten all other bars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from zipperasr.audio.segments import REGIMES
from zipperasr.languages import LanguageTable
from zipperasr.report.collect import Decoding, Run, by_system
from zipperasr.report.figures.selection import of_regime
from zipperasr.report.figures.style import colour, figure
from zipperasr.report.groups import GROUPS, SOURCE, Groups
from zipperasr.report.tables import rate_by_language

HATCHES = ("", "//", "..", "xx", "\\\\", "++", "--", "oo")
LIMIT = 100.0
Panels = Mapping[str, tuple[Sequence[str], Mapping[str, Mapping[str, float]]]]


def draw(run: Run, directory: Path) -> dict[str, Path]:
    """One figure per regime."""
    drawn = {}
    for regime in REGIMES:
        panels = _panels(of_regime(run, regime), run.groups, run.languages)
        if draw_bars(path := directory / f"error_rates_{regime}.png", panels):
            drawn[f"Error rates by language, {regime} encoder"] = path
    return drawn


def draw_bars(path: Path, panels: Panels) -> bool:
    """panels: {title: (language labels, {system: {language label: rate in per cent}})}. False if all are empty."""
    panels = {title: panel for title, panel in panels.items() if any(panel[1].values())}
    if not panels:
        return False
    systems = list(dict.fromkeys(system for _, rates in panels.values() for system in rates))
    widths = [max(2, len(labels)) for labels, _ in panels.values()]
    with figure(
        path, 2.5 + 0.75 * sum(widths), 4.2, columns=len(panels), sharey=True, gridspec_kw={"width_ratios": widths}
    ) as (drawing, axes):
        for axis, (title, (labels, rates)) in zip(axes, panels.items(), strict=True):
            _draw_panel(axis, labels, rates, systems)
            axis.set_title(title)
        axes[0].set_ylabel("WER or CER, %")
        axes[0].set_ylim(0, _top(panels))
        handles = {handle.get_label(): handle for axis in axes for handle in axis.containers}
        drawing.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=9)
    return True


def _draw_panel(axis, labels: Sequence[str], rates: Mapping[str, Mapping[str, float]], systems: Sequence[str]) -> None:
    shown = [system for system in systems if rates.get(system)]
    wide = 0.84 / len(shown)
    for index, system in enumerate(shown):
        places = np.arange(len(labels)) + (index - (len(shown) - 1) / 2) * wide
        heights = [rates[system].get(label, np.nan) for label in labels]
        place = systems.index(system)
        style = {"color": colour(place), "hatch": HATCHES[place % len(HATCHES)], "edgecolor": "white"}
        axis.bar(places, np.minimum(heights, LIMIT), wide, label=system, **style)
        for x, height in zip(places, heights, strict=True):
            if height == height and (wide > 0.2 or height > LIMIT):
                axis.text(x, min(height, LIMIT), f"{height:.0f}", ha="center", va="bottom", fontsize=7)
    axis.set_xticks(range(len(labels)), labels)
    axis.grid(False, axis="x")


def _top(panels: Panels) -> float:
    highest = max(rate for _, rates in panels.values() for by_label in rates.values() for rate in by_label.values())
    return min(highest, LIMIT) * 1.1 or 1.0


def _panels(decodings: Sequence[Decoding], groups: Groups, languages: LanguageTable) -> Panels:
    panels = {}
    for group in GROUPS:
        labels = {code: _label(code, groups, languages) for code in groups.codes(group)}
        rates = {}
        for runs in by_system(decodings):
            by_code = [rate_by_language(run, group, groups, languages) for run in runs]
            shared = set.intersection(*map(set, by_code))
            rates[runs[0].name] = {
                labels[code]: fmean(rate[code] for rate in by_code) for code in labels if code in shared
            }
        panels[_title(group, groups)] = (list(labels.values()), rates)
    return panels


def _label(code: str, groups: Groups, languages: LanguageTable) -> str:
    """The code, the unit unless words, and a mark for languages without adaptation data."""
    unit = "\nCER" if languages[code].unit == "cer" else ""
    return code + ("*" if code in groups.without_sft_data else "") + unit


def _title(group: str, groups: Groups) -> str:
    if group == SOURCE:
        return "source domain" + (" (* no adaptation data)" if groups.without_sft_data else "")
    return f"{group} target languages"
