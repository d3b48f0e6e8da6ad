"""The order in which the encoder takes pieces of several requests."""

from __future__ import annotations

import numpy as np

from zipperasr.batching.batch import Example
from zipperasr.transcribe.fair_queue import FairQueue, LiveRequest
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.transcript import Job


def queue_of(*requests: tuple[str, str, int]) -> tuple[FairQueue, dict[str, LiveRequest]]:
    """(name, language, number of pieces of 2 s) of each request. The id of a piece is its name and number."""
    queue, made = FairQueue(), {}
    for name, language, pieces in requests:
        made[name] = LiveRequest(Job(Recording(name, np.zeros(0)), language))
        for number in range(pieces):
            queue.add(made[name], Example(f"{name}{number}", language, None, 32_000, (), ()))
    return queue, made


def taken(queue: FairQueue, most: int = 16, most_s: float = 60.0) -> str:
    return " ".join(example.utt_id for _, example in queue.take(most, most_s))


def test_requests_take_equal_turns_and_a_late_short_one_overtakes_the_rest_of_a_long_one():
    queue, made = queue_of(("a", "de", 5), ("b", "de", 2))
    assert taken(queue, most=3) == "a0 b0 a1"
    queue.add(made["b"], Example("b2", "de", None, 32_000, (), ()))
    late = LiveRequest(Job(Recording("late", np.zeros(0)), "de"))
    queue.add(late, Example("late0", "de", None, 32_000, (), ()))
    assert taken(queue, most=3) == "b1 a2 late0"
    assert taken(queue) == "b2 a3 a4"
    assert len(queue) == 0 and taken(queue) == ""


def test_a_batch_has_the_language_of_the_request_whose_turn_it_is():
    queue, _ = queue_of(("a", "de", 2), ("b", "es", 2), ("c", "de", 1), ("d", "ja", 1))
    assert taken(queue) == "a0 c0 a1"
    assert taken(queue, most=1) == "b0"
    assert taken(queue) == "d0", "b has just had its turn"
    assert taken(queue) == "b1"


def test_a_batch_is_limited_by_its_audio_but_has_at_least_one_piece():
    queue, _ = queue_of(("a", "de", 4))
    assert taken(queue, most_s=4.0) == "a0 a1"
    assert taken(queue, most_s=0.1) == "a2"


def test_the_pieces_of_a_discarded_request_disappear():
    queue, made = queue_of(("a", "de", 3), ("b", "de", 1))
    queue.discard(made["a"])
    assert taken(queue) == "b0"
    queue.discard(made["a"])
