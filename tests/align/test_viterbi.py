"""The aligner's path is the best of all CTC paths."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from zipperasr.align.viterbi import BLANK, align_labels, least_frames


def collapsed(path: tuple[int, ...]) -> list[int]:
    """The labels of a path: repetitions merged, then blanks removed."""
    return [label for place, label in enumerate(path) if label != BLANK and (place == 0 or path[place - 1] != label)]


def spans(path: tuple[int, ...]) -> list[list[int]]:
    """First and last frame of each label of a path."""
    found: list[list[int]] = []
    for place, label in enumerate(path):
        if label != BLANK and place and path[place - 1] == label:
            found[-1][1] = place
        elif label != BLANK:
            found.append([place, place])
    return found


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("labels", [[1], [2, 1], [1, 1], [2, 2, 1], [1, 2, 1, 2]])
def test_the_alignment_is_the_best_of_all_paths(labels, seed):
    scores = np.random.default_rng(seed).normal(0, 2, (6, 3))  # not normalised
    best = max(
        (path for path in product(range(3), repeat=6) if collapsed(path) == labels),
        key=lambda path: sum(scores[frame, label] for frame, label in enumerate(path)),
    )
    assert align_labels(scores, np.array(labels)).tolist() == spans(best)


def test_long_utterances_with_many_labels_are_aligned():
    labels = np.arange(400) % 5 + 1
    scores = np.full((1200, 6), -5.0)
    scores[np.arange(1200), np.repeat(labels, 3)] = 0.0
    found = align_labels(scores, labels)
    assert found[:, 0].tolist() == list(range(0, 1200, 3)) and (found[:, 1] == found[:, 0] + 2).all()


def test_too_few_frames_are_an_error():
    assert least_frames(np.array([1, 1, 2])) == 4
    with pytest.raises(ValueError, match="got 3 frames for 3 labels, wanted 4"):
        align_labels(np.zeros((3, 3)), np.array([1, 1, 2]))
