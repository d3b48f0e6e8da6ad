"""Style of all figures: sizes, fonts, colours that colour-blind readers can tell apart.

Matplotlib draws off screen (Agg) with its own font; figures use codes and English names, so no CJK font is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from zipperasr.atomic import atomic_path
from zipperasr.report.paper import SYSTEMS

# Okabe and Ito's palette, without yellow (too pale for lines on white).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
SETTINGS = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def system_colour(label: str, place: int) -> str:
    """The colour of a system: the same in all figures for the paper's systems, else by place."""
    return colour(SYSTEMS.index(label) if label in SYSTEMS else place)


@contextmanager
def figure(path: Path, width_in: float, height_in: float, columns: int = 1, **options) -> Iterator[tuple[Figure, list]]:
    """Yield a figure and its row of axes, then save it as PNG."""
    with plt.rc_context(SETTINGS):
        drawing, axes = plt.subplots(1, columns, figsize=(width_in, height_in), squeeze=False, **options)
        yield drawing, list(axes[0])
        with atomic_path(path) as temporary:
            drawing.savefig(temporary, format="png", dpi=150)
        plt.close(drawing)
