"""Router weights: p(l) by layer and language after training, and its course during training.

In: router_final.json ({"languages", "layers", "p": [layer][language][rank]}) and router.jsonl (step, p: {language:
[mean per layer]}). Out: one PNG per training. A router that stays at 0.5 gives a pale map and flat lines.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zipperasr.report.collect import Run, Training
from zipperasr.report.figures.selection import trainings
from zipperasr.report.figures.style import colour, figure


def draw(run: Run, directory: Path) -> dict[str, Path]:
    """One figure per routed training of the main setting, with the first seed of each system."""
    drawn = {}
    for training in trainings(run):
        name = training.model.directory.name
        if draw_router(path := directory / f"router_{name}.png", training):
            drawn[f"Router of {name}"] = path
    return drawn


def draw_router(path: Path, training: Training) -> bool:
    """False, and nothing drawn, if the training has no router."""
    final = training.router_final
    if not final:
        return False
    languages, layers = final["languages"], final["layers"]
    share = np.array([[np.mean(ranks) for ranks in layer] for layer in final["p"]])
    columns = 2 if training.router else 1
    height_in = min(9.0, 2.2 + 0.14 * len(layers))
    with figure(path, 6.4 * columns, max(4.2, height_in), columns=columns) as (drawing, axes):
        _draw_map(drawing, axes[0], share, languages, layers)
        if training.router:
            _draw_path(axes[1], training.router, languages)
        drawing.suptitle(f"Router of {training.model.label} ({training.model.regime})")
    return True


def _draw_map(drawing, axis, share: np.ndarray, languages: list[str], layers: list[str]) -> None:
    reach = max(0.02, float(np.abs(share - 0.5).max()))  # symmetric: white is an unchanged router
    image = axis.imshow(share, aspect="auto", cmap="PuOr", vmin=0.5 - reach, vmax=0.5 + reach, interpolation="nearest")
    axis.set_xticks(range(len(languages)), languages)
    step = max(1, -(-len(layers) // 48))
    axis.set_yticks(range(0, len(layers), step), layers[::step], fontsize=7)
    axis.set_xlabel("language")
    axis.set_ylabel("adapted layer")
    axis.grid(False)
    axis.set_title("p(l) after training, mean over ranks")
    drawing.colorbar(image, ax=axis, label="p(l), initially near 0.5")


def _draw_path(axis, router: list[dict], languages: list[str]) -> None:
    steps = [row["step"] for row in router]
    for index, code in enumerate(languages):
        known = [(step, np.mean(row["p"][code])) for step, row in zip(steps, router, strict=True) if code in row["p"]]
        if known:
            style = ("-", "--", ":", "-.")[index // 6 % 4]
            axis.plot(*zip(*known, strict=True), color=colour(index % 6), linestyle=style, label=code)
    axis.axhline(0.5, color="#777777", linewidth=0.8)
    axis.set_xlabel("optimiser step")
    axis.set_ylabel("p(l), mean over layers and ranks")
    axis.set_title("p(l) during training")
    axis.legend(fontsize=8, ncols=2)
