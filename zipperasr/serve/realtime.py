"""The WebSocket /v1/realtime: OpenAI's realtime transcription API, one stream per connection.

Three tasks per connection: one reads messages, one transcribes them in a thread, one writes events. The first to end
ends the others. While the inbox is full, nothing is read, so a client cannot send faster than the model transcribes.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import suppress
from dataclasses import replace

import anyio
import orjson
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from zipperasr.cli import log
from zipperasr.serve import realtime_events as events
from zipperasr.serve.connections import SEND_S
from zipperasr.serve.errors import ApiError, shutting_down, unexpected
from zipperasr.serve.inbox import Inbox
from zipperasr.serve.metrics import Metrics
from zipperasr.serve.model_queue import retrieve_exception
from zipperasr.serve.realtime_events import ClientEvent, EventError
from zipperasr.serve.realtime_stream import RealtimeStream
from zipperasr.serve.request_log import request_id_of
from zipperasr.serve.service import Service
from zipperasr.transcribe.live_stream import StreamCancelled

BLOCK_S = 0.16  # audio that is transcribed at a time
CLOSE_S = 2.0
REFUSED, FAULT, RESTART, LATER = 1008, 1011, 1012, 1013  # WebSocket close codes
LOST = 1006  # in the log and the metrics: the connection broke
PARAMETERS = ("model", "intent", "language")
_END = ClientEvent("end")  # after the last message, when the server stops


class Ended(Exception):
    """Ends a connection. error: sent to the client first. is_gone: whether the client has left."""

    def __init__(self, code: int, error: ApiError | None = None, is_gone: bool = False):
        super().__init__(code)
        self.code, self.error, self.is_gone = code, error, is_gone


async def realtime(websocket: WebSocket) -> None:
    """The WebSocket /v1/realtime. All errors are events, because browsers do not show the response to a handshake."""
    service, metrics = websocket.app.state.service, websocket.app.state.metrics
    start, request_id = time.monotonic(), request_id_of(websocket.headers)
    protocol = "realtime" if "realtime" in websocket.scope.get("subprotocols", ()) else None
    end = Ended(FAULT)
    connection = Connection(websocket, service, metrics)
    try:
        await websocket.accept(protocol, headers=[(b"x-request-id", request_id.encode())])
        with service.streams.slot(connection):
            await connection.run()
    except Ended as error:
        end = error
    except ApiError as error:
        end = Ended(LATER if error.status == 503 else REFUSED, error)
    except (asyncio.CancelledError, StreamCancelled):  # --grace_s is over
        end = Ended(RESTART)
    except WebSocketDisconnect:
        end = Ended(LOST, is_gone=True)
    except BaseException as error:
        end = Ended(FAULT, unexpected(error))
        raise
    finally:
        try:
            await connection.close(end)
        finally:  # also if a second cancellation interrupts the close
            metrics.count_stream(end.code)
            log(connection.line(request_id, end.code, time.monotonic() - start))


class Connection:
    """One client, its settings and its stream."""

    def __init__(self, websocket: WebSocket, service: Service, metrics: Metrics):
        self._websocket, self._service, self._metrics = websocket, service, metrics
        self._id, self.audio_s = f"sess_{uuid.uuid4().hex}", 0.0
        self._inbox, self._outbox = Inbox(service.limits.idle_s), asyncio.Queue[dict]()
        self._stream = RealtimeStream(service, self._tell)
        self._loop = asyncio.get_running_loop()
        self._reader: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve the client. Raises Ended, and EventError for parameters of the address that are refused."""
        self._read_parameters()
        self._tell(self._session("session.created"))
        self._reader = asyncio.ensure_future(self._read())
        tasks = [self._reader, asyncio.ensure_future(self._work()), asyncio.ensure_future(self._write())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._reader.cancelled():  # by `stop`
                tasks[0] = asyncio.ensure_future(self._finish())
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            self._stream.cancel()
            for task in tasks:
                task.add_done_callback(retrieve_exception)
                task.cancel()

    def stop(self) -> None:
        """Read no more, transcribe what has been received, and end."""
        if self._reader is not None:
            self._loop.call_soon_threadsafe(self._reader.cancel)

    async def close(self, end: Ended) -> None:
        """Tell the client why the connection ends, if it reads that in time."""
        if end.is_gone:
            return
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError), anyio.fail_after(CLOSE_S):
            if end.error is not None:
                await self._send(events.error_event(end.error))
            await self._websocket.close(end.code, None if end.error is None else str(end.error.code))

    def line(self, request_id: str, code: int, total_s: float) -> str:
        """The line in the log."""
        stream = self._stream
        pairs = {"id": request_id, "code": code, "audio_s": f"{self.audio_s:.2f}"}
        pairs |= {"language": stream.settings.language or "none", "segments": stream.num_segments}
        pairs |= {"partials": stream.num_partials, "skipped": stream.num_skipped, "total_s": f"{total_s:.3f}"}
        return " ".join(["stream", *(f"{key}={value}" for key, value in pairs.items())])

    def _read_parameters(self) -> None:
        given, service = self._websocket.query_params, self._service
        for name in given:
            if name not in PARAMETERS:
                message = f"unknown parameter {events.shown(name)}; {events.suggested(name, PARAMETERS)}"
                raise EventError(message, name, "unknown_parameter")
        if given.get("intent", "transcription") != "transcription":
            raise EventError(f"intent: got {events.shown(given['intent'])}, wanted 'transcription'", "intent")
        events.check_model(given.get("model"), service.name)
        if not service.transcriber.can_stream:
            raise EventError("a stream needs an encoder with chunks; this model has full context", code="no_streams")
        if given.get("language"):
            lang = events.language_of(given["language"], service.transcriber.languages.codes)
            self._stream.settings = replace(self._stream.settings, language=lang)

    async def _read(self) -> None:
        while True:
            message = await self._received()
            if message["type"] == "websocket.disconnect":  # uvicorn adds no reason if the connection broke
                raise Ended(message["code"] if "reason" in message else LOST, is_gone=True)
            try:
                await self._take(message.get("bytes"), message.get("text"))
            except EventError as error:
                self._tell(events.error_event(error))
            await self._outbox.join()

    async def _received(self) -> Message:
        """The client's next message. Raises Ended once it is idle."""
        inbox = self._inbox
        while not inbox.is_idle:
            with anyio.move_on_after(max(inbox.left_s, inbox.least_s)):
                return await self._websocket.receive()
        message = f"less than {inbox.least_s:g} s of audio in {inbox.idle_s:g} s"
        raise Ended(REFUSED, ApiError(408, message, code="idle_timeout"))

    async def _take(self, data: bytes | None, text: str | None) -> None:
        """Process a message."""
        if data is None:
            event = events.parse(text or "")
            try:
                if event.type == events.UPDATE:
                    self._update(event)
                elif event.type == events.APPEND:
                    await self._hear(event.audio)
                else:
                    await self._inbox.put(event)
            except EventError as error:
                error.event_id = event.event_id
                raise
        else:
            await self._hear(data)

    def _update(self, event: ClientEvent) -> None:
        before, codes = self._stream.settings, self._service.transcriber.languages.codes
        new = events.updated(before, event.session, codes, self._service.name)
        if self._stream.is_started and replace(new, logprobs=before.logprobs) != before:
            message = "language, format and turn_detection cannot change after the first audio; open another connection"
            raise EventError(message, "session", "session_fixed")
        if new.logprobs and not self._service.transcriber.has_logprobs:
            raise EventError("include: beam search reports no log-probabilities of tokens; leave it out", "include")
        self._stream.settings = new
        self._tell(self._session("session.updated"))

    def _session(self, kind: str) -> dict:
        return events.session_event(kind, self._id, self._stream.settings, self._service.name)

    async def _hear(self, data: bytes) -> None:
        self._stream.start()
        seconds = len(data) / 2 / self._stream.settings.rate
        self.audio_s += seconds
        self._metrics.hear(seconds)
        await self._inbox.put(data, seconds)

    async def _finish(self) -> None:
        await self._inbox.put(_END)
        await asyncio.Event().wait()  # the end comes from the worker

    async def _work(self) -> None:
        while True:
            message = await self._inbox.get()
            if isinstance(message, bytes):
                await self._transcribe(message)
            elif message.type == events.CLEAR:
                self._stream.clear()
            elif not await self._stream.commit(message.event_id) and message is not _END:
                told = EventError("there is no speech to commit", None, "input_audio_buffer_commit_empty")
                told.event_id = message.event_id
                self._tell(events.error_event(told))
            await self._outbox.join()
            if message is _END:
                raise Ended(RESTART, shutting_down())
            self._inbox.done()

    async def _transcribe(self, data: bytes) -> None:
        bytes_per_s = 2 * self._stream.settings.rate
        size = 2 * int(self._stream.settings.rate * BLOCK_S)
        for start in range(0, len(data), size):
            block = data[start : start + size]
            self._inbox.took(len(block) / bytes_per_s)
            await self._stream.feed(block, self._is_behind)
            await self._outbox.join()

    def _is_behind(self) -> bool:
        return self._inbox.waiting_s >= self._stream.chunk_s

    def _tell(self, event: dict) -> None:
        self._outbox.put_nowait(event)

    async def _write(self) -> None:
        while True:
            event = await self._outbox.get()
            try:
                with anyio.fail_after(SEND_S):
                    await self._send(event)
            except TimeoutError as error:
                raise Ended(LOST, is_gone=True) from error
            except (WebSocketDisconnect, RuntimeError) as error:  # RuntimeError: uvicorn has closed the connection
                raise Ended(LOST, is_gone=True) from error
            self._outbox.task_done()

    async def _send(self, event: dict) -> None:
        await self._websocket.send_text(orjson.dumps(event).decode())
