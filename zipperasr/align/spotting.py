"""Where phrases are spoken: the best CTC alignment of each one's characters with any span of the frames.

In: scores of classes relative to the best one of each frame, characters of phrases. Out: spans. A word spotter on CTC
log-probabilities, as of Andrusenko et al. (2024, arXiv 2406.07096), for plain lists instead of graphs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from zipperasr.align.viterbi import BLANK

MOST = 1000  # spans of phrases of similar length that are compared, those with the largest surplus


class Spot(NamedTuple):
    """A phrase in a span of frames, the last one included."""

    phrase: int
    first: int
    last: int
    surplus: float  # what its characters might cost in addition, in nats


def find_spots(scores: Tensor, labels: Sequence[Sequence[int]], most: Sequence[float]) -> list[Spot]:
    """Return spans that do not overlap, those with the largest surplus first.

    A span costs the sum over its frames of the best class's score minus that of the phrase's path. The surplus is the
    phrase's `most` times its number of characters, minus the cost; no span has a negative one. Blanks after a character
    are part of it; two equal neighbours need none between them.

    Args:
        scores: (frames, classes) on the CPU, at most 0; class 0 is the blank.
        labels: classes of the characters of each phrase, at least one.
        most: cost per character that a phrase may have.
    """
    by_size: dict[int, list[int]] = defaultdict(list)
    for number, phrase in enumerate(labels):
        if len(phrase) <= len(scores):
            by_size[len(phrase).bit_length()].append(number)
    found = [spot for numbers in by_size.values() for spot in _spans(scores, labels, most, numbers)]
    found.sort(key=lambda one: -one.surplus)
    chosen: list[Spot] = []
    is_free = torch.ones(len(scores), dtype=torch.bool)
    for spot in found:
        if is_free[spot.first : spot.last + 1].all():
            is_free[spot.first : spot.last + 1] = False
            chosen.append(spot)
    return chosen


def _spans(scores: Tensor, labels: Sequence[Sequence[int]], most: Sequence[float], numbers: list[int]) -> list[Spot]:
    """All spans of some phrases with a surplus, at most one for each phrase and last frame."""
    padded = pad_sequence([torch.tensor(labels[number]) for number in numbers], batch_first=True)
    sizes = torch.tensor([len(labels[number]) for number in numbers])
    allowed = torch.tensor([most[number] for number in numbers]) * sizes
    surplus = _path_scores(scores, padded, sizes) + allowed
    hits = (surplus.max(0).values >= 0).nonzero()[:, 0]
    if not len(hits):
        return []
    first = _first_frames(scores, padded[hits], sizes[hits])
    values, places = surplus[:, hits].flatten().topk(min(MOST, len(surplus) * len(hits)))
    return [
        Spot(numbers[hits[place % len(hits)]], int(first.flatten()[place]), place // len(hits), value)
        for value, place in zip(values.tolist(), places.tolist(), strict=True)
        if value >= 0
    ]


def _path_scores(scores: Tensor, padded: Tensor, sizes: Tensor) -> Tensor:
    """Score of the best path of each phrase that ends in each frame: (frames, phrases)."""
    at_end = (sizes - 1)[:, None]
    path = scores.new_full((len(padded), padded.shape[1] + 1), -torch.inf)
    path[:, 0] = 0.0  # a phrase may begin in any frame
    ends = []
    for frame in scores:
        enter = frame[padded]
        path[:, 1:] = torch.maximum(path[:, :-1] + enter, path[:, 1:] + enter.clamp(min=float(frame[BLANK])))
        ends.append(path[:, 1:].gather(1, at_end)[:, 0])
    return torch.stack(ends)


def _first_frames(scores: Tensor, padded: Tensor, sizes: Tensor) -> Tensor:
    """First frame of the paths that `_path_scores` scores: (frames, phrases)."""
    at_end = (sizes - 1)[:, None]
    path = scores.new_full((len(padded), padded.shape[1] + 1), -torch.inf)
    path[:, 0] = 0.0
    first = torch.zeros(path.shape, dtype=torch.long)
    ends = []
    for number, frame in enumerate(scores):
        first[:, 0] = number
        enter = frame[padded]
        entered, stayed = path[:, :-1] + enter, path[:, 1:] + enter.clamp(min=float(frame[BLANK]))
        first[:, 1:] = torch.where(entered > stayed, first[:, :-1], first[:, 1:])
        path[:, 1:] = torch.maximum(entered, stayed)
        ends.append(first[:, 1:].gather(1, at_end)[:, 0])
    return torch.stack(ends)


def prefix_scores(scores: Tensor, labels: Sequence[int]) -> Tensor:
    """Score of the best path of the first n characters through the first t frames: (frames + 1, characters + 1).

    scores, labels: as for `find_spots`, of one text.
    """
    path = scores.new_full((len(labels) + 1,), -torch.inf)
    path[0] = 0.0
    rows = [path]
    for frame in scores:
        stay = path + torch.cat([frame[BLANK : BLANK + 1], frame[labels].clamp(min=float(frame[BLANK]))])
        stay[1:] = torch.maximum(stay[1:], path[:-1] + frame[labels])
        rows.append(path := stay)
    return torch.stack(rows)
