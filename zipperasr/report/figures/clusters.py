"""t-SNE of encoder outputs, one point per utterance of the target test sets (the paper's Fig. 8).

In: utterance means of two systems. Out: one PNG per encoder regime, with a panel and the silhouette of each system.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE

from zipperasr.audio.segments import REGIMES
from zipperasr.report.cluster_statistics import silhouettes, target_means
from zipperasr.report.collect import Run
from zipperasr.report.figures.selection import of_regime
from zipperasr.report.figures.style import colour, figure

SYSTEMS = ("vanilla", "zipper_soft")  # panels of the paper's Fig. 8
MARKERS = ("o", "^")  # colours repeat with another marker
PERPLEXITY = 30.0


def draw(run: Run, directory: Path) -> dict[str, Path]:
    """One figure per regime, with the first seed of each system."""
    drawn = {}
    for regime in REGIMES:
        means, silhouette = {}, {}
        for decoding in of_regime(run, regime):
            label, trained = decoding.model.label, decoding.model.regime
            if label not in SYSTEMS or label in means or trained != regime:
                continue
            of_system = target_means(decoding, run.languages)  # not part of published results
            if of_system:
                means[label], silhouette[label] = of_system, float(silhouettes(decoding, run.languages)[0])
        if draw_clusters(path := directory / f"clusters_{regime}.png", means, silhouette):
            drawn[f"Encoder outputs of the target test sets by t-SNE, {regime} encoder (the paper's Fig. 8)"] = path
    return drawn


def draw_clusters(path: Path, systems: Mapping[str, Mapping[str, np.ndarray]], silhouette: Mapping[str, float]) -> bool:
    """systems: {title: {language: (utterances, d_model)}}. False, and nothing drawn, without systems."""
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
    """(utterances, 2), of vectors normalised to unit length; deterministic."""
    vectors = np.concatenate(list(means.values()))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(vectors)
