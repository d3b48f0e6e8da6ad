"""The best CTC alignment of a sequence of labels with frames (Graves et al., 2006), in O(frames x labels).

In: log-probabilities of each frame, labels. Out: the frames of each label.
"""

from __future__ import annotations

import numpy as np

BLANK = 0
STAY, NEXT, SKIP = 0, 1, 2  # steps from one frame's state to the next: the same, the following, over a blank


def least_frames(labels: np.ndarray) -> int:
    """Return the number of frames that an alignment needs: one per label, and a blank between equal neighbours."""
    return len(labels) + int((labels[1:] == labels[:-1]).sum())


def align_labels(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return first and last frame of each label on the most probable path: (labels, 2).

    States are the labels with blanks between and around them: blank, label, blank, ..., label, blank.

    Args:
        log_probs: (frames, classes), class 0 is the blank; need not be normalised.
        labels: (labels,) of classes from 1, at least one.

    Raises ValueError if there are fewer frames than `least_frames`.
    """
    if len(log_probs) < least_frames(labels):
        raise ValueError(f"got {len(log_probs)} frames for {len(labels)} labels, wanted {least_frames(labels)}")
    states = np.full(2 * len(labels) + 1, BLANK)
    states[1::2] = labels
    may_skip = np.zeros(len(states), dtype=bool)
    may_skip[3::2] = labels[1:] != labels[:-1]
    emissions = log_probs[:, states]
    score = np.full(len(states), -np.inf)
    score[:2] = emissions[0, :2]
    steps = np.zeros(emissions.shape, dtype=np.int8)
    candidates = np.full((3, len(states)), -np.inf)
    for frame in range(1, len(emissions)):
        candidates[STAY] = score
        candidates[NEXT, 1:] = score[:-1]
        candidates[SKIP, 2:] = np.where(may_skip[2:], score[:-2], -np.inf)
        steps[frame] = candidates.argmax(0)
        score = candidates.max(0) + emissions[frame]
    return _frames_of_labels(_traced(steps, score), len(labels))


def _traced(steps: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Follow the steps back from the better of the last two states: (frames,) of states."""
    state = len(score) - 1 if score[-1] > score[-2] else len(score) - 2
    path = np.empty(len(steps), dtype=np.int64)
    for frame in range(len(steps) - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    return path


def _frames_of_labels(path: np.ndarray, num_labels: int) -> np.ndarray:
    """First and last frame in the state of each label; states never decrease along a path."""
    states = 2 * np.arange(num_labels) + 1
    return np.stack([np.searchsorted(path, states, "left"), np.searchsorted(path, states, "right") - 1], axis=1)
