"""The order in which the encoder takes pieces of several requests."""

from __future__ import annotations

import numpy as np
import pytest

from zipperasr.batching.batch import Example
from zipperasr.transcribe.fair_queue import FairQueue, LiveRequest
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.transcript import Job


def queue_of(*requests: tuple[str, str, int]) -> tuple[FairQueue, dict[str, LiveRequest]]:
    """(name, language, number of pieces of 2 s) of each request. The id of a piece is its name and number."""
    queue = FairQueue()
    return queue, {name: added(queue, name, language, pieces) for name, language, pieces in requests}


def added(queue: FairQueue, name: str, language: str = "de", pieces: int = 1, piece_s: int = 2) -> LiveRequest:
    """A new request in the queue."""
    request = LiveRequest(Job(Recording(name, np.zeros(0)), language))
    for number in range(pieces):
        queue.add(request, Example(f"{name}{number}", language, None, piece_s * 16_000, (), ()))
    return request


def taken(queue: FairQueue, most: int = 16, most_s: float = 60.0) -> str:
    return " ".join(example.utt_id for _, example in queue.take(most, most_s))


def test_pieces_of_equal_length_alternate_and_a_late_request_overtakes_the_rest_of_a_long_one():
    queue, made = queue_of(("a", "de", 5), ("b", "de", 2))
    assert taken(queue, most=3) == "a0 b0 a1"
    queue.add(made["b"], Example("b2", "de", None, 32_000, (), ()))
    added(queue, "late")
    assert taken(queue, most=3) == "b1 late0 a2"
    assert taken(queue) == "b2 a3 a4"
    assert len(queue) == 0 and taken(queue) == ""


def test_a_batch_has_the_language_of_the_request_whose_turn_it_is():
    queue, _ = queue_of(("a", "de", 2), ("b", "es", 2), ("c", "de", 1), ("d", "ja", 1))
    assert taken(queue) == "a0 c0 a1"
    assert taken(queue, most=1) == "b0"
    assert taken(queue) == "d0", "b has just had its turn"
    assert taken(queue) == "b1"


def test_a_short_piece_does_not_wait_for_long_ones_that_came_before():
    queue = FairQueue()
    for name in "abcd":
        added(queue, name, pieces=4, piece_s=28)
    assert taken(queue, most_s=30.0) == "a0"
    added(queue, "short", "es", piece_s=3)
    assert taken(queue, most_s=30.0) == "short0"
    assert [taken(queue, most_s=30.0) for _ in range(4)] == ["b0", "c0", "d0", "a1"]


@pytest.mark.parametrize("others", [1, 3])
def test_short_requests_without_end_do_not_keep_a_long_one_waiting(others):
    """`others` short requests are always in the queue: a new one for each that is taken."""
    queue = FairQueue()
    added(queue, "long", "es", piece_s=28)
    shorts = 0
    for number in range(others):
        added(queue, f"s{number}-")
    while not (found := taken(queue, most=1)).startswith("long"):
        shorts += 1
        added(queue, f"{found}-")
    assert 28 < shorts * 2 < 28 * (others + 1)


def test_a_batch_is_limited_by_its_audio_but_has_at_least_one_piece():
    queue, _ = queue_of(("a", "de", 4))
    assert taken(queue, most_s=4.0) == "a0 a1"
    assert taken(queue, most_s=0.1) == "a2"


def test_a_piece_that_does_not_fit_is_overtaken_only_in_this_batch():
    queue = FairQueue()
    added(queue, "long", piece_s=20)
    added(queue, "later", piece_s=29)
    queue.take(1, 30.0)
    added(queue, "short", pieces=2, piece_s=8)
    assert taken(queue, most_s=20.0) == "short0 short1"
    added(queue, "short", pieces=1, piece_s=2)
    assert taken(queue, most_s=31.0) == "short0 later0"


def test_the_pieces_of_a_discarded_request_disappear():
    queue, made = queue_of(("a", "de", 3), ("b", "de", 1))
    queue.discard(made["a"])
    assert taken(queue) == "b0"
    queue.discard(made["a"])
