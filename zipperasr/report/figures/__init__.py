"""The figures of a run: one module each, with `draw(run, directory) -> {title: path}`.

A figure that has no data in the run draws nothing and returns {}. To add one, write a module and register it here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from zipperasr.report.collect import Run
from zipperasr.report.figures import bars, change, clusters, lid, loss, radar, router, systems

FIGURES: dict[str, Callable[[Run, Path], dict[str, Path]]] = {  # in the order of the page
    "systems": systems.draw,
    "error_rates": bars.draw,
    "radar": radar.draw,
    "clusters": clusters.draw,
    "loss": loss.draw,
    "change": change.draw,
    "lid": lid.draw,
    "router": router.draw,
}


def draw_all(run: Run, directory: Path) -> dict[str, Path]:
    """Write all figures to `directory`; {title: path} in the order of FIGURES."""
    return {title: path for draw in FIGURES.values() for title, path in draw(run, directory).items()}
