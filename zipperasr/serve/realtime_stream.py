"""One stream of the WebSocket: raw samples and commands in their order to server events.

The stream works in a thread of the service's pool, one block at a time; events are made in the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from zipperasr.serve import realtime_events as events
from zipperasr.serve.errors import model_failed
from zipperasr.serve.realtime_events import EventError, Item, Settings
from zipperasr.serve.service import Service
from zipperasr.transcribe.live_state import DecodingFailed
from zipperasr.transcribe.live_stream import LiveStream
from zipperasr.transcribe.pauses import Piece
from zipperasr.transcribe.stream import Partial
from zipperasr.transcribe.transcript import Segment


class RealtimeStream:
    """The stream of a connection, from its first audio.

    tell: sends an event. The methods raise StreamCancelled after `cancel`.
    """

    def __init__(self, service: Service, tell: Callable[[dict], None]):
        self.settings = Settings()  # may change before `start`; `logprobs` also later
        self.num_partials, self.num_segments = 0, 0
        self._service, self._tell, self._loop = service, tell, asyncio.get_running_loop()
        self._live: LiveStream | None = None
        self._item: Item | None = None  # the open segment
        self._last_id: str | None = None  # of the item that was committed last
        self._commit_id: str | None = None  # of the client's event that is being processed

    @property
    def is_started(self) -> bool:
        return self._live is not None

    @property
    def num_skipped(self) -> int:
        """Partial texts that were left out because the stream was behind."""
        return 0 if self._live is None else self._live.stream.num_skipped

    @property
    def chunk_s(self) -> float:
        return 0.0 if self._live is None else self._live.stream.chunk_s

    def start(self) -> None:
        """Raises EventError unless the language is known."""
        if self._live is not None:
            return
        settings, service = self.settings, self._service
        if not settings.language:
            codes = ", ".join(service.transcriber.languages.codes)
            message = f"the language cannot be detected in a stream; set it to one of {codes} before sending audio"
            raise EventError(message, "language", "language_missing")
        by_hand = settings.by_hand
        self._live = LiveStream(service.live, settings.language, settings.rate, by_hand=by_hand, closing=self._closing)

    def cancel(self) -> None:
        """Free the row of the segment that is being decoded."""
        if self._live is not None:
            self._live.cancel()

    async def feed(self, data: bytes, is_behind: Callable[[], bool]) -> None:
        """Transcribe a short block of raw samples. is_behind: see `Stream.feed`."""
        assert self._live is not None
        await self._advance(partial(self._live.feed, data, is_behind))

    async def commit(self, event_id: str | None) -> bool:
        """End the open segment; False if there is none. event_id: of the client's event."""
        before, self._commit_id = self.num_segments, event_id
        if self._live is not None:
            while not await self._advance(self._live.commit):
                continue  # what the model could not decode has been given up
        self._commit_id = None
        return self.num_segments > before

    def clear(self) -> None:
        """Forget the open segment."""
        if self._live is not None:
            self._live.clear()
        self._item = None
        self._tell(events.server_event("input_audio_buffer.cleared"))

    async def _advance(self, call: Callable[[], list[Partial | Segment]]) -> bool:
        """Run a call of the stream in a thread and tell what it returns; False if the model failed."""
        assert self._live is not None
        stream, failure = self._live.stream, None
        try:
            found = await self._loop.run_in_executor(self._service.streams.pool, call)
        except DecodingFailed as error:
            found, failure = self._live.take(), error
        for one in found:
            if isinstance(one, Partial):
                self.num_partials += 1
                self._tell((self._item or self._begin(one.start_s)).partial(one))
            else:
                self._end(*self._close(one.start_s, one.end_s).final(one, self.settings))
        if failure is not None:
            if (piece := stream.closed) is not None:  # otherwise only a partial text is missing
                stream.drop()
                self._end(self._close(piece.start_s, piece.end_s).failed(model_failed(failure)))
        elif self._item is None and stream.voice_start_s is not None:
            self._begin(stream.voice_start_s)
        return failure is None

    def _begin(self, start_s: float) -> Item:
        self._item = Item(self._last_id, start_s)
        if not self.settings.by_hand:
            self._tell(self._item.started())
        return self._item

    def _closing(self, piece: Piece) -> None:
        """Called in the thread of the stream, before the text of the segment is known."""
        self._loop.call_soon_threadsafe(self._close, piece.start_s, piece.end_s)

    def _close(self, start_s: float, end_s: float) -> Item:
        """Send that the segment has ended, once."""
        item = self._item or self._begin(start_s)
        if not item.is_committed:
            item.is_committed, self._last_id = True, item.id
            if not self.settings.by_hand:
                self._tell(item.stopped(end_s))
            self._tell(item.committed(self._commit_id))
        return item

    def _end(self, *last: dict) -> None:
        for event in last:
            self._tell(event)
        self._item, self.num_segments = None, self.num_segments + 1
