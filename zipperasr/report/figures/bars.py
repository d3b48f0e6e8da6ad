"""Error rate bars: languages by systems, one panel per group (source, larger, small).

In: error rates by system and language. Out: one PNG. Bars are cut at 100 % and written out, lest a runaway language
flatten all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from zipperasr.report.figures.style import colour, figure

HATCHES = ("", "//", "..", "xx", "\\\\", "++", "--", "oo")
LIMIT = 100.0


def draw_bars(path: Path, panels: Mapping[str, tuple[Sequence[str], Mapping[str, Mapping[str, float]]]]) -> bool:
    """`panels`: title -> (language labels, {system: {language label: rate in per cent}}). False if all are empty."""
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


def _top(panels: Mapping[str, tuple[Sequence[str], Mapping[str, Mapping[str, float]]]]) -> float:
    highest = max(rate for _, rates in panels.values() for by_label in rates.values() for rate in by_label.values())
    return min(highest, LIMIT) * 1.1 or 1.0
