"""Radar of 100 minus the error rate over the target languages (the paper's Fig. 5).

In: error rates by system and language, of one encoder regime. Out: one PNG. Rates above 100 % count as 100, where the
axis ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from zipperasr.report.figures.style import figure, system_colour

FEWEST = 3  # languages of a polygon; systems to compare are at least two


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
