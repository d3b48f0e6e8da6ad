"""Transcripts as server-sent events, in the form of OpenAI's transcription API with `stream=true`.

A `transcript.text.delta` for each segment with text, then `transcript.text.done`; or `error`, which ends the stream.
The response starts with the first event, so that earlier errors have their HTTP status.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import anyio
from starlette.types import Send

from zipperasr.serve.answers import plain_json, token_logprobs
from zipperasr.serve.errors import ApiError, shutting_down, unexpected
from zipperasr.serve.model_queue import retrieve_exception
from zipperasr.serve.service import Recognised
from zipperasr.spacing import join_texts
from zipperasr.transcribe.transcript import Segment, Transcript

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # proxies should forward events at once
]
ERROR_S = 1.0  # time to send an error to a client that may not be reading


class EventStream:
    """The events of one response."""

    def __init__(self, send: Send):
        self.has_begun = False
        self._send_message, self._text = send, ""

    async def send(
        self, recognise: Callable[[Callable[[Segment], None]], Awaitable[Recognised]], logprobs: bool
    ) -> Recognised:
        """Send the text of a transcript while it is made, and return the transcript.

        Args:
            recognise: `Service.recognise` of a recording; takes its `on_segment`.
            logprobs: include those of all tokens.
        """
        segments: asyncio.Queue[Segment | None] = asyncio.Queue()
        work = asyncio.ensure_future(recognise(segments.put_nowait))
        work.add_done_callback(retrieve_exception)
        work.add_done_callback(lambda _: segments.put_nowait(None))
        try:
            while (segment := await segments.get()) is not None:
                await self._send_delta(segment, logprobs)
            return work.result()
        finally:
            work.cancel()

    async def end(self, transcript: Transcript, logprobs: bool) -> None:
        """End the stream with the whole text."""
        await self._send({"type": "transcript.text.done", **plain_json(transcript, logprobs)}, is_last=True)

    async def fail(self, error: BaseException) -> int:
        """End the stream with an `error` event. Returns the status that a response would have had."""
        told = error if isinstance(error, ApiError) else unexpected(error)
        if isinstance(error, asyncio.CancelledError):
            told = shutting_down()
        with anyio.move_on_after(ERROR_S):
            await self._send({"type": "error", "error": told.content}, is_last=True)
        return told.status

    async def _send_delta(self, segment: Segment, logprobs: bool) -> None:
        joined = join_texts([self._text, segment.text])
        delta, self._text = joined[len(self._text) :], joined
        if delta:
            included = {"logprobs": token_logprobs([segment])} if logprobs else {}
            await self._send({"type": "transcript.text.delta", "delta": delta, **included})

    async def _send(self, event: dict, is_last: bool = False) -> None:
        if not self.has_begun:
            self.has_begun = True
            await self._send_message({"type": "http.response.start", "status": 200, "headers": HEADERS})
        body = f"data: {json.dumps(event)}\n\n".encode()
        await self._send_message({"type": "http.response.body", "body": body, "more_body": not is_last})
