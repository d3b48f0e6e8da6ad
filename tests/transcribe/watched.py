"""A live transcriber whose events can be observed and held."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.transcribe.sound import with_pauses
from zipperasr.batching.batch import Example
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.live import LiveTranscriber

WAIT_S = 60  # upper limit for waiting; not a measurement
LONG = with_pauses([6.0, 7.0, 5.0, 6.5, 7.0, 6.0, 5.5, 6.0])  # eight pieces


class Watched(LiveTranscriber):
    """Records events in their order; can hold the model before it takes pieces."""

    def __init__(self, transcriber: Transcriber, max_running: int = 32):
        self.gate, self.taken, self.looks, self.most_rows = threading.Event(), [], [], 0
        self.before_token = lambda: None
        super().__init__(transcriber, max_running)

    def _take(self) -> list[Example]:
        while not self.gate.wait(0.01):
            self._check()
        batch = super()._take()
        if batch:
            self.taken.append(batch)
            self.most_rows = max(self.most_rows, self.rows_in_use)
        return batch

    def _is_dropped(self, example: Example) -> bool:
        self.before_token()
        self.looks.append((example.language, super()._is_dropped(example)))
        return self.looks[-1][1]

    def wait_until_prepared(self, *requests) -> None:
        def are_prepared() -> bool:
            return all(one.ready or one.future.done() or one in self._decoding.values() for one in requests)

        with self._changed:
            assert self._changed.wait_for(are_prepared, WAIT_S)


@contextmanager
def live(transcriber: Transcriber, **settings: int) -> Iterator[Watched]:
    with closing(Watched(transcriber, **settings)) as made:
        yield made
