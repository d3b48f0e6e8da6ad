"""The messages of a stream that wait to be processed, and whether its client is idle."""

from __future__ import annotations

import asyncio
from time import monotonic

from zipperasr.serve.realtime_events import ClientEvent

MAX_WAITING_S = 30.0  # audio that has been received but not transcribed
MAX_WAITING = 1000  # messages
LEAST_SHARE = 0.1  # of the time, that audio has to cover; less is idle


class Inbox:
    """Messages in order. `put` waits while `MAX_WAITING_S` of audio or `MAX_WAITING` messages are in it.

    idle_s: time in which a client has to send `least_s` of audio. It does not run while a message waits or is being
    processed.
    """

    def __init__(self, idle_s: float):
        self.idle_s, self.least_s = idle_s, LEAST_SHARE * idle_s
        self.waiting_s = 0.0  # audio
        self._messages: asyncio.Queue[bytes | ClientEvent] = asyncio.Queue()
        self._taken = asyncio.Event()
        self._num_open = 0  # messages that wait or are being processed
        self._audio_s = 0.0  # since the time was last renewed
        self._left_s, self._since = idle_s, monotonic()

    @property
    def left_s(self) -> float:
        """Time that is left to the client."""
        return self._left_s if self._num_open else self._left_s - (monotonic() - self._since)

    @property
    def is_idle(self) -> bool:
        return not self._num_open and self.left_s <= 0

    async def put(self, message: bytes | ClientEvent, seconds: float = 0.0) -> None:
        """Append a message with this much audio. If waiting is cancelled, it is appended nevertheless."""
        self._left_s = self.left_s
        self._num_open += 1
        self._audio_s += seconds
        if self._audio_s >= self.least_s:
            self._audio_s, self._left_s = 0.0, self.idle_s
        try:
            while self.waiting_s > MAX_WAITING_S or self._messages.qsize() >= MAX_WAITING:
                self._taken.clear()
                await self._taken.wait()
        finally:
            self.waiting_s += seconds
            self._messages.put_nowait(message)

    async def get(self) -> bytes | ClientEvent:
        message = await self._messages.get()
        self._taken.set()
        return message

    def took(self, seconds: float) -> None:
        """Note that this much of the audio has been taken."""
        self.waiting_s -= seconds
        self._taken.set()

    def done(self) -> None:
        """Note that the last message of `get` has been processed."""
        self._num_open -= 1
        self._since = monotonic()
