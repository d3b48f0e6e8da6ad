"""Phrases are found where their characters cost least, against a search through all spans and paths."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch

from zipperasr.align.spotting import MOST_SPOTS, Spot, find_spots, prefix_scores
from zipperasr.align.viterbi import BLANK


def random_scores(frames: int, classes: int, seed: int) -> torch.Tensor:
    scores = torch.randn(frames, classes, generator=torch.Generator().manual_seed(seed))
    return scores - scores.amax(1, keepdim=True)


def cost(scores: torch.Tensor, labels: list[int]) -> float:
    """The least cost of a path through all frames, among all that begin each character in its frame."""
    best = float("inf")
    for path in product(range(2 * len(labels)), repeat=len(scores)):  # states: character, blank after it, ...
        steps = [(0, path[0]), *pairwise(path)]
        begins = path[0] == 0 and path[-1] >= 2 * len(labels) - 2
        if begins and all(after - before in ((0, 1, 2) if before % 2 == 0 else (0, -1, 1)) for before, after in steps):
            if any(after < before and before % 2 == 0 for before, after in steps):
                continue
            classes = [BLANK if state % 2 else labels[state // 2] for state in path]
            best = min(best, -float(sum(scores[frame, one] for frame, one in enumerate(classes))))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_the_best_span_is_that_of_a_search_through_all_spans(seed):
    scores, phrases = random_scores(5, 4, seed), [[1], [2, 3], [3, 3, 1]]
    for labels in phrases:
        spans = [(first, last) for first in range(5) for last in range(first, 5)]
        found = {span: cost(scores[span[0] : span[1] + 1], labels) for span in spans}
        best = min(found.values())
        spot = find_spots(scores, [labels], [10.0])[0]
        assert 10.0 * len(labels) - spot.surplus == pytest.approx(best, abs=1e-5)
        assert found[spot.first, spot.last] == pytest.approx(best, abs=1e-5)


def spoken(labels: list[int], frames: int, classes: int = 8) -> torch.Tensor:
    """Scores of frames in which each of these classes is the best for two frames, and the blank after them."""
    scores = torch.full((frames, classes), -5.0)
    best = [label for label in labels for _ in range(2)]
    for frame in range(frames):
        scores[frame, best[frame] if frame < len(best) else BLANK] = 0.0
    return scores


def test_a_phrase_is_found_where_it_is_spoken_and_others_are_not():
    scores = spoken([7, 1, 2, 3, 7, 4, 5, 6], 20)
    found = find_spots(scores, [[1, 2, 3], [4, 5, 6], [6, 5, 4], [1, 4, 7]], [1.0] * 4)
    assert {(spot.phrase, spot.first) for spot in found} == {(0, 2), (1, 10)}
    assert all(spot.surplus == 3.0 for spot in found)


def test_of_phrases_in_the_same_place_the_one_with_the_largest_surplus_is_found():
    scores = spoken([1, 2, 3, 4], 10)
    assert [spot.phrase for spot in find_spots(scores, [[1, 2], [1, 2, 3, 4], [1, 2, 3, 5]], [2.0] * 3)] == [1]


def test_each_phrase_has_its_own_cost():
    scores = spoken([1, 2, 3], 10)  # the wrong character costs 5 in each of two frames
    assert [spot.phrase for spot in find_spots(scores, [[1, 5, 3], [1, 6, 3]], [3.3, 3.4])] == [1]
    assert find_spots(scores, [[1, 5, 3], [1, 6, 3]], [3.3, 3.3]) == []


def test_a_phrase_said_twice_is_found_twice():
    assert [spot.phrase for spot in find_spots(spoken([1, 2, 7, 7, 1, 2], 14), [[1, 2]], [1.0])] == [0, 0]


def test_a_pause_after_a_phrase_hides_no_other_phrase():
    phrase, other = [1, 2, 3, 4], [5, 6, 5, 6]
    variants = [[1, 2, 3, 7], [1, 2, 7, 4], [1, 7, 3, 4], [7, 2, 3, 4], [1, 2, 3, 5]]
    scores = spoken([*phrase, *[BLANK] * 100, *other], 220)
    found = find_spots(scores, [phrase, *variants, other], [3.0] * 6 + [0.25])
    assert found == [Spot(0, 0, 6, 12.0), Spot(6, 208, 214, 1.0)]  # to where the last character begins


def test_a_phrase_longer_than_the_speech_is_not_found_and_no_phrase_gives_nothing():
    assert find_spots(spoken([1], 2), [[1, 1, 1]], [100.0]) == []
    assert find_spots(spoken([1], 2), [], []) == []
    assert find_spots(spoken([], 0), [[1]], [100.0]) == []


def test_only_so_many_spots_are_found_the_best_of_each_place():
    scores = spoken([1, 2, 7] * 12, 80)
    scores[6:8] -= 1.0  # of the second time
    found = find_spots(scores, [[1, 2]], [1.0])
    assert len(found) == MOST_SPOTS and all(one.surplus == 2.0 and one.first != 6 for one in found)


def test_prefixes_are_scored_through_every_frame():
    scores = random_scores(5, 4, 1)
    found = prefix_scores(scores, [2, 3])
    assert found.shape == (6, 3)
    torch.testing.assert_close(found[1:, 0], scores[:, BLANK].cumsum(0))
    for frames in (2, 3, 5):
        leading = [
            float(scores[:blanks, BLANK].sum()) - cost(scores[blanks:frames], [2, 3]) for blanks in range(frames)
        ]
        assert float(found[frames, 2]) == pytest.approx(max(leading), abs=1e-5)
    assert found[1, 2] == -torch.inf
    assert prefix_scores(scores, []).shape == (6, 1)
