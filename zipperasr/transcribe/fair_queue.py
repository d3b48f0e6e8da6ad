"""The order in which pieces of several recordings reach the encoder.

All get equal shares of it, so a short recording does not wait for long ones. A batch has one language, that of the
piece whose turn it is, because the adapters are merged for one language.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.batching.batch import Example
from zipperasr.transcribe.transcript import Job, Pending, Segment


@dataclass(eq=False)
class LiveRequest:
    """A recording that is transcribed together with others. Cancelling `future` ends it."""

    job: Job
    on_segment: Callable[[Segment], None] = lambda _: None
    future: Future = field(default_factory=Future)  # of a Transcript
    examples: Iterator[Example] = field(init=False)  # prepares the next piece
    pending: dict[str, Pending] = field(default_factory=dict)  # prepared pieces by the id of their example
    ready: deque[Example] = field(default_factory=deque)  # prepared pieces that the encoder has not taken
    is_prepared: bool = False  # all pieces have been prepared
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None  # when the preparation of its first piece began
    num_told: int = 0  # segments that on_segment has been called with
    share: float = 0.0  # samples of this request that the encoder has taken, see FairQueue

    @property
    def ready_s(self) -> float:
        return sum(example.num_samples for example in self.ready) / SAMPLE_RATE

    def to_encode(self, example: Example) -> int:
        """Samples of a piece that the encoder has to process."""
        return example.num_samples

    def tell_segments(self) -> None:
        """Call `on_segment` with the segments that are known and whose predecessors are."""
        while not self.future.done() and (segment := self.job.segments.get(self.num_told)) is not None:
            self.num_told += 1
            self.on_segment(segment)


class FairQueue:
    """Requests with prepared pieces, whose audio gets equal shares of the encoder.

    The piece that would end first if all requests were encoded at the same time, at the same speed, is taken first:
    fair queueing (Demers, Keshav and Shenker, 1989). With n requests, at most n times its own length overtakes a piece.
    """

    def __init__(self) -> None:
        self._requests: list[LiveRequest] = []
        self._share = 0.0  # samples that a request would have got by now if it had always had pieces

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: LiveRequest, example: Example) -> None:
        request.ready.append(example)
        if request not in self._requests:
            request.share = max(request.share, self._share)  # none for the time without pieces
            self._requests.append(request)

    def discard(self, request: LiveRequest) -> None:
        """Remove a request with its pieces."""
        request.ready.clear()
        if request in self._requests:
            self._requests.remove(request)

    def take(self, most: int, most_s: float) -> list[tuple[LiveRequest, Example]]:
        """Remove a batch: at most `most` pieces of one language with `most_s` of audio, or one longer piece."""
        taken: list[tuple[LiveRequest, Example]] = []
        left = most_s * SAMPLE_RATE
        while len(taken) < most:
            fitting = [
                request
                for request in self._requests
                if not taken
                or (request.ready[0].language == taken[0][1].language and request.to_encode(request.ready[0]) <= left)
            ]
            if not fitting:
                break
            request = min(fitting, key=lambda one: one.share + one.to_encode(one.ready[0]))
            taken.append((request, self._next(request)))
            left -= request.to_encode(taken[-1][1])
        return taken

    def _next(self, request: LiveRequest) -> Example:
        """Remove the next piece of a request."""
        example = request.ready.popleft()
        request.share += request.to_encode(example)
        self._share += request.to_encode(example) / len(self._requests)
        if not request.ready:
            self._requests.remove(request)
        return example


def next_turn(running: deque[LiveRequest], most_s: float) -> LiveRequest | None:
    """The request whose next piece is prepared now, moved to the end; None if each is prepared, or has `most_s` ready.

    It is the one with the least audio that is prepared and not yet in the encoder; of several, the one whose last turn,
    or arrival, is the longest ago.
    """
    unprepared = [one for one in running if not one.is_prepared and one.ready_s < most_s]
    if not unprepared:
        return None
    request = min(unprepared, key=lambda one: one.ready_s)
    running.remove(request)
    running.append(request)
    return request
