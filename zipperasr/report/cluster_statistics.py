"""Separation of languages in the encoder output: silhouettes of utterance means.

In: the encoder means that stage 7 keeps. Out: the mean silhouette, measured and on resampled utterances.
"""

from __future__ import annotations

import json

import numpy as np
from sklearn.metrics import silhouette_samples

from zipperasr.atomic import atomic_path
from zipperasr.decode.encoder_means import FILE, read_means
from zipperasr.languages import LanguageTable
from zipperasr.report.collect import Decoding
from zipperasr.report.read_files import read_json
from zipperasr.report.tables import main_scores
from zipperasr.stats.bootstrap import resampled_sums

SILHOUETTES = "silhouettes.json"


def target_means(decoding: Decoding, languages: LanguageTable) -> dict[str, np.ndarray]:
    """{language: (utterances, d_model)} of the target test sets, for languages with kept means.

    Empty if there is nothing to separate: fewer than two languages, or a single utterance in each.
    """
    means: dict[str, list[np.ndarray]] = {}
    for score in main_scores(decoding, languages):
        if score.phase == "sft":
            found = read_means(decoding.directory / score.set / FILE)
            if found:
                means.setdefault(score.language, []).append(np.stack(list(found.values())))
    found = {code: np.concatenate(means[code]) for code in languages.codes if code in means}
    return found if 2 <= len(found) < sum(map(len, found.values())) else {}


def silhouettes(decoding: Decoding, languages: LanguageTable) -> np.ndarray | None:
    """Mean silhouette by language (cosine distance): (1 + resamplings,), measured first; None without means.

    Utterances are resampled with the silhouette that they have in the whole set.
    """
    values = utterance_silhouettes(decoding, languages)
    return None if values is None else resampled_sums("silhouette", values[:, None])[:, 0] / len(values)


def utterance_silhouettes(decoding: Decoding, languages: LanguageTable) -> np.ndarray | None:
    """Silhouette of each utterance: (utterances,), float32; from SILHOUETTES if the means are not there."""
    means = target_means(decoding, languages)
    if not means:
        saved = read_json(decoding.directory / SILHOUETTES)
        return np.array(saved["silhouettes"], dtype=np.float32) if saved else None
    labels = np.repeat(list(means), [len(part) for part in means.values()])
    return silhouette_samples(np.concatenate(list(means.values())), labels, metric="cosine").astype(np.float32)


def save_silhouettes(decoding: Decoding, languages: LanguageTable) -> None:
    """Write SILHOUETTES, a hundredth of the means' size, unless there are no means."""
    values = utterance_silhouettes(decoding, languages)
    if values is not None:
        with atomic_path(decoding.directory / SILHOUETTES) as temporary:
            text = json.dumps({"silhouettes": [float(f"{value:.9g}") for value in values]})  # float32 exactly
            temporary.write_text(text + "\n", encoding="utf-8")
