"""Where phrases are spoken: the best CTC alignment of each one's characters with any span of the frames.

In: scores of classes relative to the best one of each frame, characters of phrases. Out: spans. A word spotter on CTC
log-probabilities, as of Andrusenko et al. (2024, arXiv 2406.07096), for plain lists instead of graphs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zipperasr.align.viterbi import BLANK

MOST_SPOTS = 8  # in an utterance; each may need a search


class Spot(NamedTuple):
    """A phrase in a span of frames, the last one included."""

    phrase: int
    first: int
    last: int
    surplus: float  # cost left before it is rejected, in nats


def find_spots(scores: Tensor, labels: Sequence[Sequence[int]], most: Sequence[float]) -> list[Spot]:
    """Return up to `MOST_SPOTS` spans that do not overlap, those with the largest surplus first.

    A span costs the sum over its frames of the best class's score minus that of the phrase's path. The surplus is the
    phrase's `most` times its number of characters, minus the cost; no span has a negative one. Blanks after a character
    are part of it; two equal neighbours need none between them. A span ends where the surplus rises: not in later
    frames that cost nothing.

    Args:
        scores: (frames, classes) on the CPU, at most 0; class 0 is the blank.
        labels: classes of the characters of each phrase, at least one.
        most: cost per character that a phrase may have.
    """
    short = np.array([number for number, phrase in enumerate(labels) if len(phrase) <= len(scores)], dtype=np.int64)
    if not len(short):
        return []
    sizes = np.array([len(labels[number]) for number in short])
    classes = np.concatenate([[BLANK, *labels[number]] for number in short])
    ends = np.cumsum(sizes + 1) - 1
    at_ends = [(path[ends], first[ends]) for path, first in _paths(scores, classes, ends - sizes)]
    surplus, first = (np.stack(rows) for rows in zip(*at_ends, strict=True))
    surplus += (np.array(most)[short] * sizes).astype(surplus.dtype)
    before = np.pad(surplus[:-1], ((1, 0), (0, 0)), constant_values=-np.inf)
    last, phrase = ((surplus > before) & (surplus >= 0)).nonzero()
    found = np.rec.fromarrays([short[phrase], first[last, phrase], last, surplus[last, phrase]], names=Spot._fields)
    chosen: list[Spot] = []
    while len(found) and len(chosen) < MOST_SPOTS:
        best = Spot(*found[found.surplus.argmax()].item())
        chosen.append(best)
        found = found[(found.last < best.first) | (found.first > best.last)]
    return chosen


def _paths(scores: Tensor, classes: np.ndarray, starts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield after each frame the score of the best path to each state, and the frame in which it left its start.

    classes: of each state; a state is entered from the one before. starts: states, of class BLANK, in which a path may
    begin in any frame; otherwise all paths begin in the first frame, in the first state.
    """
    path = np.full(len(classes), -np.inf, dtype=np.float32)
    path[0] = 0.0
    first = np.zeros(len(classes), dtype=np.int32)
    for number, frame in enumerate(scores.numpy()):
        path[starts], first[starts] = 0.0, number
        enter = frame[classes]
        stayed = path + np.maximum(enter, frame[BLANK])
        entered = path[:-1] + enter[1:]
        first[1:] = np.where(entered > stayed[1:], first[:-1], first[1:])
        np.maximum(entered, stayed[1:], out=stayed[1:])
        path = stayed
        yield path, first  # changed by the next frame: `first`, and `path` at the starts


def prefix_scores(scores: Tensor, labels: Sequence[int]) -> Tensor:
    """Score of the best path of the first n characters through the first t frames: (frames + 1, characters + 1).

    scores, labels: as for `find_spots`, of one text.
    """
    before = np.array([0.0, *[-np.inf] * len(labels)], dtype=np.float32)
    after = (path for path, _ in _paths(scores, np.array([BLANK, *labels]), np.arange(0)))
    return torch.from_numpy(np.stack([before, *after]))
