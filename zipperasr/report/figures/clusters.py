"""t-SNE of encoder outputs, a point for each utterance of the target test sets (the paper's Fig. 8).

In: utterance means by language, of a few systems. Out: one PNG, a panel for each system, its silhouette beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE

from zipperasr.report.figures.style import colour, figure

MARKERS = ("o", "^")  # colours are repeated with another marker
PERPLEXITY = 30.0


def draw_clusters(path: Path, systems: Mapping[str, Mapping[str, np.ndarray]], silhouette: Mapping[str, float]) -> bool:
    """systems: {title: {language: (utterances, d_model)}}. False, and nothing drawn, with no system."""
    if not systems:
        return False
    with figure(path, 5.2 * len(systems) + 0.8, 5.2, columns=len(systems)) as (drawing, axes):
        for axis, (title, means) in zip(axes, systems.items(), strict=True):
            points = np.split(_projected(means), np.cumsum([len(part) for part in means.values()])[:-1])
            for place, (code, part) in enumerate(zip(means, points, strict=True)):
                marker = MARKERS[place // 6 % len(MARKERS)]
                axis.scatter(*part.T, s=9, color=colour(place % 6), marker=marker, linewidths=0, label=code)
            axis.set_title(f"{title}: silhouette {silhouette[title]:.2f}")
            axis.set_xticks([])
            axis.set_yticks([])
        drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", markerscale=2.5)
    return True


def _projected(means: Mapping[str, np.ndarray]) -> np.ndarray:
    """(utterances, 2), on vectors of length one, the same in every call."""
    vectors = np.concatenate(list(means.values()))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(vectors)
