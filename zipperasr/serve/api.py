"""OpenAI's transcription endpoint for one model.

`prompt` is a list of phrases to prefer. `n_best`, which OpenAI's API does not have, adds n-best lists. `temperature` is
accepted and ignored: the search does not sample.
"""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any, NamedTuple

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from zipperasr.cli import log, nearest
from zipperasr.decode.phrases import Phrase
from zipperasr.serve.answers import RESPONSE_FORMATS, WITH_ALTERNATIVES, answer
from zipperasr.serve.errors import ApiError
from zipperasr.serve.event_stream import EventStream
from zipperasr.serve.model_queue import retrieve_exception
from zipperasr.serve.request_log import CLIENT_GONE
from zipperasr.serve.service import Recognised, Service
from zipperasr.serve.upload import Upload
from zipperasr.transcribe.defaults import AUTO, HINT_WEIGHT, NO_HINTS
from zipperasr.transcribe.hints import split_prompt

GRANULARITIES = ("timestamp_granularities[]", "timestamp_granularities")
INCLUDE = ("include[]", "include")
IGNORED = ("temperature", "chunking_strategy")
N_BEST = "n_best"
OPENAIS = ("file", "model", "language", "prompt", "response_format", *GRANULARITIES, *INCLUDE, *IGNORED, "stream")
FIELDS = (*OPENAIS, N_BEST)
REPEATABLE = (*GRANULARITIES, *INCLUDE)


class Wanted(NamedTuple):
    """What the fields of a request ask for."""

    lang: str
    hints: tuple[Phrase, ...]
    response_format: str
    logprobs: bool
    n_best: int = 0  # alternatives of each segment; 0: none
    stream: bool = False


class Transcriptions:
    """POST /v1/audio/transcriptions, as an ASGI application. Raises ApiError before the response starts."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, events = Request(scope, receive), EventStream(send)
        try:
            response = await _transcriptions(request, events)
        except BaseException as error:
            if not events.has_begun:
                raise
            request.state.failed = await events.fail(error)
            if not isinstance(error, Exception):  # cancelled
                raise
            if not isinstance(
                error, ApiError
            ):  # raised further, it would close a connection that the client may use again
                log("".join(traceback.format_exception(error)))
        else:
            if not events.has_begun:
                await response(scope, receive, send)
            elif response.status_code != 200:
                request.state.failed = response.status_code


async def _transcriptions(request: Request, events: EventStream) -> Response:
    """Return the response, or one with the status alone if it has been sent as events. Raises ApiError."""
    service: Service = request.app.state.service
    limit_s = service.limits.timeout_s
    service.queue.check_free()  # before the upload
    try:
        with anyio.fail_after(limit_s):
            return await _transcribed(request, service, events)
    except TimeoutError as error:
        message = f"no answer within {limit_s:g} s; send a shorter recording, or start with a longer --timeout_s"
        raise ApiError(504, message, code="timeout") from error
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)


async def models(request: Request) -> JSONResponse:
    """GET /v1/models: the loaded model."""
    return JSONResponse({"object": "list", "data": [_model(request.app.state.service)]})


async def model(request: Request) -> JSONResponse:
    """GET /v1/models/NAME. Raises ApiError for another name."""
    service: Service = request.app.state.service
    _check_model(request.path_params["name"], service)
    return JSONResponse(_model(service))


async def health(request: Request) -> JSONResponse:
    """GET /health: 503 while the model fails, so that whoever watches the server restarts it."""
    service: Service = request.app.state.service
    live = service.live
    load = {"requests": service.queue.num_held, "running": live.num_running, "waiting": live.num_waiting}
    load |= {"rows": live.rows, "rows_in_use": live.rows_in_use}
    if live.is_failing:
        return JSONResponse({"status": "failing", "model": service.name, **load}, status_code=503)
    return JSONResponse({"status": "ok", "model": service.name, **load})


async def _transcribed(request: Request, service: Service, events: EventStream) -> Response:
    async with service.uploads.received(request, FIELDS, REPEATABLE) as upload:
        wanted = _wanted(upload, service)
        with service.queue.slot():
            found = await _unless_gone(request, _recognised(upload, wanted, service, events))
    request.state.recognised = found  # for the log and the metrics
    if wanted.stream:
        await events.end(found.transcript, wanted.logprobs)
        return Response()
    languages = service.transcriber.languages
    return answer(found, wanted.response_format, languages, logprobs=wanted.logprobs, n_best=wanted.n_best)


async def _recognised(upload: Upload, wanted: Wanted, service: Service, events: EventStream) -> Recognised:
    samples = await service.uploads.decoded(upload)
    upload.file.close()  # the disk is free while the recording waits for the model
    recognise = partial(service.recognise, samples, wanted.lang, wanted.hints)
    return await (events.send(recognise, wanted.logprobs) if wanted.stream else recognise())


async def _unless_gone(request: Request, recognition: Coroutine[Any, Any, Recognised]) -> Recognised:
    """Await the recognition. If the client disconnects, stops it and raises ClientDisconnect."""
    work = asyncio.ensure_future(recognition)
    work.add_done_callback(retrieve_exception)
    gone = asyncio.ensure_future(request.receive())  # the body has been read; only a disconnect can follow
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        work.cancel()
        gone.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({work})  # returns after the block that is being decoded


def _wanted(upload: Upload, service: Service) -> Wanted:
    """Read the fields. Raises ApiError for a model or value that does not exist."""
    fields = upload.fields
    if fields.get("model"):
        _check_model(fields["model"], service)
    lang = fields.get("language", "").strip().lower() or AUTO
    codes = service.transcriber.languages.codes
    if lang not in (AUTO, *codes):
        message = f"language {lang!r} is not one of the model's; {nearest(lang, codes)}; without it, it is detected"
        raise ApiError(400, message, "language", "unsupported_language")
    if lang == AUTO and not service.detects:
        message = f"this model cannot detect languages; set language to one of {', '.join(codes)}"
        raise ApiError(400, message, "language", "unsupported_language")
    response_format = fields.get("response_format") or "json"
    _check_choice("response_format", response_format, tuple(RESPONSE_FORMATS))
    for name in GRANULARITIES:
        for value in upload.lists[name]:
            _check_choice(name, value, ("segment", "word"))
        if "word" in upload.lists[name] and service.transcriber.aligner is None:
            message = f"{name}: this model has no aligner for the times of words; `zipperasr train-aligner` trains one"
            raise ApiError(400, message, name, "unsupported_value")
    included = [value for name in INCLUDE for value in upload.lists[name]]
    for value in included:
        _check_choice(INCLUDE[0], value, ("logprobs",))
    if included:
        _check_json("include[]: logprobs need", response_format, INCLUDE[0])
    if included and not service.transcriber.has_logprobs:
        message = f"{INCLUDE[0]}: beam search reports no log-probabilities of tokens; leave it out"
        raise ApiError(400, message, INCLUDE[0], "unsupported_value")
    hints, n_best = _hints(fields.get("prompt", ""), service), _n_best(fields, response_format, service)
    stream = _streams(fields, response_format, n_best)
    return Wanted(lang, hints, response_format, bool(included), n_best, stream)


def _streams(fields: Mapping[str, str], response_format: str, n_best: int) -> bool:
    value = fields.get("stream", "").lower() or "false"
    _check_choice("stream", value, ("true", "false"))
    if value == "false":
        return False
    _check_json("stream: events need", response_format, "stream")
    if n_best:
        raise ApiError(400, "stream: events have no alternatives; leave n_best out", "stream", "unsupported_value")
    return True


def _check_json(what_needs: str, response_format: str, param: str) -> None:
    if response_format != "json":
        message = f"{what_needs} response_format json, got {response_format!r}"
        raise ApiError(400, message, param, "unsupported_value")


def _n_best(fields: Mapping[str, str], response_format: str, service: Service) -> int:
    """The number of alternatives; 0 without the field."""
    value, most = fields.get(N_BEST), service.transcriber.config.nbest
    if value is None:
        return 0
    if most == 1:
        message = f"{N_BEST}: this server keeps one text; start it with `zipperasr serve --beam 4 --nbest 4`"
    elif response_format not in WITH_ALTERNATIVES:
        message = f"{N_BEST}: got response_format {response_format}, wanted {' or '.join(WITH_ALTERNATIVES)}"
    elif not re.fullmatch("[0-9]{1,9}", value) or not 1 <= int(value) <= most:
        message = f"{N_BEST}: got {value!r}, wanted a whole number from 1 to {most}, the server's --nbest"
    else:
        return int(value)
    raise ApiError(400, message, N_BEST, "unsupported_value")


def _hints(prompt: str, service: Service) -> tuple[Phrase, ...]:
    try:
        hints = split_prompt(prompt, HINT_WEIGHT)
    except ValueError as error:
        raise ApiError(400, f"prompt: {error}", "prompt", "unsupported_value") from error
    if hints and not service.transcriber.takes_hints:
        raise ApiError(400, f"prompt: {NO_HINTS}", "prompt", "unsupported_value")
    return hints


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ApiError(400, f"{name}: got {value!r}; {nearest(value, known)}", name, "unsupported_value")


def _check_model(name: str, service: Service) -> None:
    if name != service.name:
        message = f"model {name!r} is not loaded; the loaded model is {service.name!r}"
        raise ApiError(404, message, "model", "model_not_found")


def _model(service: Service) -> dict:
    return {"id": service.name, "object": "model", "created": service.created, "owned_by": "zipperasr"}
