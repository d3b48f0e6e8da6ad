"""The order in which pieces of several recordings reach the encoder.

Requests take equal turns, piece by piece, so a long recording does not delay a short one by more than a batch. A batch
has one language, that of the request whose turn it is, because the adapters are merged for one language.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.batching.batch import Example
from zipperasr.transcribe.transcript import Job, Pending


@dataclass(eq=False)
class LiveRequest:
    """A recording that is transcribed together with others. Cancelling `future` ends it."""

    job: Job
    future: Future = field(default_factory=Future)  # of a Transcript
    examples: Iterator[Example] = field(init=False)  # prepares the next piece
    pending: dict[str, Pending] = field(default_factory=dict)  # prepared pieces by the id of their example
    ready: deque[Example] = field(default_factory=deque)  # prepared pieces that the encoder has not taken
    is_prepared: bool = False  # all pieces have been prepared
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None  # when the encoder took the first piece, or when all were found to be silent


class FairQueue:
    """Requests with prepared pieces, in the order of their turns."""

    def __init__(self) -> None:
        self._requests: deque[LiveRequest] = deque()

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: LiveRequest, example: Example) -> None:
        request.ready.append(example)
        if request not in self._requests:
            self._requests.append(request)

    def discard(self, request: LiveRequest) -> None:
        """Remove a request with its pieces."""
        request.ready.clear()
        if request in self._requests:
            self._requests.remove(request)

    def take(self, most: int, most_s: float) -> list[tuple[LiveRequest, Example]]:
        """Remove a batch: at most `most` pieces of one language with `most_s` of audio, or one longer piece.

        The first piece belongs to the request whose turn it is; then each other request of this language gives one, and
        only then does a request give a second one.
        """
        taken: list[tuple[LiveRequest, Example]] = []
        samples, before = 0, -1
        while before < len(taken) < most:
            before = len(taken)
            for request in list(self._requests):
                example = request.ready[0]
                fits = samples + example.num_samples <= most_s * SAMPLE_RATE and len(taken) < most
                if not taken or (fits and example.language == taken[0][1].language):
                    taken.append((request, self._next(request)))
                    samples += example.num_samples
        return taken

    def _next(self, request: LiveRequest) -> Example:
        """Remove the next piece of a request, whose next turn is the last."""
        self._requests.remove(request)
        example = request.ready.popleft()
        if request.ready:
            self._requests.append(request)
        return example
