"""Events of OpenAI's realtime transcription API: client events are checked, server events are made.

Both forms of settings are read: that of `session.update`, and the older flat one of `transcription_session.update`.
Server events have a field `zipperasr` for what OpenAI's do not cover.
"""

from __future__ import annotations

import base64
import binascii
import reprlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from zipperasr.audio.load import SAMPLE_RATE
from zipperasr.audio.loudness import FRAME
from zipperasr.cli import nearest, shortened
from zipperasr.serve.answers import token_logprobs, word_fields
from zipperasr.serve.errors import ApiError
from zipperasr.transcribe.doubts import doubts
from zipperasr.transcribe.stream import Partial
from zipperasr.transcribe.stream_endpoints import BEFORE, PAUSE
from zipperasr.transcribe.transcript import Segment

UPDATE, OLD_UPDATE = "session.update", "transcription_session.update"
APPEND, COMMIT, CLEAR = (f"input_audio_buffer.{name}" for name in ("append", "commit", "clear"))
CLIENT_EVENTS = (UPDATE, OLD_UPDATE, APPEND, COMMIT, CLEAR)
LOGPROBS = "item.input_audio_transcription.logprobs"
RATES = (8_000, 48_000)
DEFAULT_RATE = 24_000  # OpenAI's
LONGEST_ID = 256  # characters of a client's event_id
LONGEST_WORD = 64  # characters of a client's string in an error
# fields of the settings and of their parts
SESSION = ("type", "audio", "include")
INPUT = ("format", "transcription", "turn_detection", "noise_reduction")
OLD_SESSION = {
    "input_audio_format": "format",
    "input_audio_transcription": "transcription",
    "turn_detection": "turn_detection",
    "input_audio_noise_reduction": "noise_reduction",
}
TRANSCRIPTION = ("model", "language", "prompt", "delay")
_ITEM = "conversation.item.input_audio_transcription"
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = LONGEST_WORD


@dataclass(frozen=True)
class Settings:
    """What a stream is transcribed with."""

    language: str = ""  # a code of the model; empty: not given yet
    rate: int = DEFAULT_RATE  # samples per second
    by_hand: bool = False  # without turn detection: `commit` ends segments
    logprobs: bool = False  # of tokens, in `completed`


class ClientEvent(NamedTuple):
    """A checked event."""

    type: str  # of CLIENT_EVENTS
    event_id: str | None = None
    audio: bytes = b""  # of APPEND
    session: Mapping[str, Any] = {}  # of UPDATE, in its form


class EventError(ApiError):
    """A client event that is refused; the connection continues."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value"):
        super().__init__(400, message, None if param is None else shortened(param, LONGEST_WORD), code)
        self.event_id: str | None = None


def shown(given: object) -> str:
    """A value of the client in a message: its shortened representation."""
    return _SHOWN.repr(given)


def suggested(given: object, known: Sequence[str]) -> str:
    """`nearest` for a value of the client, which may be long or no string."""
    return nearest(shortened(given, LONGEST_WORD) if isinstance(given, str) else "", known)


def parse(text: str) -> ClientEvent:
    """Check the text of a message. Raises EventError."""
    try:
        event = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise EventError(f"the message is not JSON: {error}", code="invalid_json") from error
    if not isinstance(event, dict):
        raise EventError(f"the message: got {type(event).__name__}, wanted an object")
    kind, event_id = event.get("type"), event.get("event_id")
    is_id = isinstance(event_id, str) and len(event_id) <= LONGEST_ID
    try:
        if kind not in CLIENT_EVENTS:
            raise EventError(f"type: got {shown(kind)}; {suggested(kind, CLIENT_EVENTS)}", "type", "unknown_event")
        if event_id is not None and not is_id:
            raise EventError(f"event_id: wanted a string of at most {LONGEST_ID} characters", "event_id")
        if kind == APPEND:
            return ClientEvent(kind, event_id, audio=_audio(event.get("audio")))
        if kind in (UPDATE, OLD_UPDATE):
            session = _object(event.get("session"), "session")
            return ClientEvent(UPDATE, event_id, session=_new_form(session) if kind == OLD_UPDATE else session)
        return ClientEvent(kind, event_id)
    except EventError as error:
        error.event_id = event_id if is_id else None
        raise


def updated(settings: Settings, session: Mapping[str, Any], codes: Sequence[str], model: str) -> Settings:
    """The settings after `session.update`. codes: languages of the model. Raises EventError."""
    _check_fields(session, SESSION, "session")
    if session.get("type", "transcription") != "transcription":
        raise EventError(f"session.type: got {shown(session['type'])}, wanted 'transcription'", "session.type")
    audio = _object(session.get("audio") or {}, "session.audio")
    _check_fields(audio, ("input",), "session.audio")
    given = _object(audio.get("input") or {}, "session.audio.input")
    _check_fields(given, INPUT, "session.audio.input")
    if given.get("format") is not None:
        settings = replace(settings, rate=_rate(given["format"]))
    if given.get("transcription") is not None:
        settings = _with_transcription(settings, _object(given["transcription"], "transcription"), codes, model)
    if "turn_detection" in given:
        settings = replace(settings, by_hand=_is_by_hand(given["turn_detection"]))
    if "include" in session:
        settings = replace(settings, logprobs=_has_logprobs(session["include"]))
    return settings


def language_of(given: object, codes: Sequence[str]) -> str:
    """Check a language. Raises EventError."""
    lang = given.strip().lower() if isinstance(given, str) else given
    if lang not in codes:
        message = f"language {shown(given)} is not one of the model's; {suggested(given, codes)}"
        raise EventError(message, "language", "unsupported_language")
    return str(lang)


def check_model(given: object, model: str) -> None:
    """Raises EventError unless it is absent or the loaded one."""
    if given not in (None, "", model):
        message = f"model {shown(given)} is not loaded; the loaded model is {model!r}"
        raise EventError(message, "model", "model_not_found")


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise EventError(f"{name}: got {type(value).__name__}, wanted an object", name)
    return value


def _check_fields(given: Mapping[str, Any], known: Sequence[str], name: str) -> None:
    for key in given:
        if key not in known:
            message = f"{name}: unknown field {shown(key)}; {suggested(key, known)}"
            raise EventError(message, f"{name}.{key}", "unknown_parameter")


def _audio(given: Any) -> bytes:
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        message = f"audio: wanted 16-bit little-endian mono samples in base64 ({error})"
        raise EventError(message, "audio", "invalid_audio") from error


def _new_form(session: Mapping[str, Any]) -> Mapping[str, Any]:
    _check_fields(session, (*OLD_SESSION, "include"), "session")
    found = {new: session[old] for old, new in OLD_SESSION.items() if old in session}
    include = {"include": session["include"]} if "include" in session else {}
    return {"audio": {"input": found}, **include}


def _rate(given: Any) -> int:
    if given == "pcm16":
        return DEFAULT_RATE
    name = "session.audio.input.format"
    given = _object(given, name)
    _check_fields(given, ("type", "rate"), name)
    if given.get("type") != "audio/pcm":
        raise EventError(f"{name}: got type {shown(given.get('type'))}, wanted 'audio/pcm'", f"{name}.type")
    rate = given.get("rate", DEFAULT_RATE)
    if not isinstance(rate, int) or not RATES[0] <= rate <= RATES[1]:
        raise EventError(f"{name}: got rate {shown(rate)}, wanted {RATES[0]} to {RATES[1]}", f"{name}.rate")
    return rate


def _with_transcription(settings: Settings, given: Mapping[str, Any], codes: Sequence[str], model: str) -> Settings:
    _check_fields(given, TRANSCRIPTION, "transcription")
    check_model(given.get("model"), model)
    if given.get("prompt"):
        raise EventError("prompt: a stream takes no hints; leave it out", "prompt", "unsupported_parameter")
    return replace(settings, language=language_of(given["language"], codes)) if given.get("language") else settings


def _is_by_hand(given: Any) -> bool:
    if given is None:
        return True
    kind = _object(given, "turn_detection").get("type")
    if kind != "server_vad":
        raise EventError(f"turn_detection: got type {shown(kind)}, wanted 'server_vad' or null", "turn_detection.type")
    return False


def _has_logprobs(given: Any) -> bool:
    if given not in (None, [], [LOGPROBS]):
        raise EventError(f"include: got {shown(given)}, wanted [] or [{LOGPROBS!r}]", "include")
    return bool(given)


def server_event(kind: str, **fields: Any) -> dict:
    """An event with an id of its own."""
    return {"type": kind, "event_id": f"event_{uuid.uuid4().hex}", **fields}


def session_event(kind: str, session_id: str, settings: Settings, model: str) -> dict:
    """`session.created` or `session.updated`, with all settings."""
    frame_ms = 1000 * FRAME // SAMPLE_RATE
    pauses = {"type": "server_vad", "prefix_padding_ms": BEFORE * frame_ms, "silence_duration_ms": PAUSE * frame_ms}
    given = {
        "format": {"type": "audio/pcm", "rate": settings.rate},
        "transcription": {"model": model, "language": settings.language or None},
        "turn_detection": None if settings.by_hand else pauses,
        "noise_reduction": None,
    }
    session = {
        "id": session_id,
        "object": "realtime.transcription_session",
        "type": "transcription",
        "audio": {"input": given},
        "include": [LOGPROBS] if settings.logprobs else [],
    }
    return server_event(kind, session=session)


def error_event(error: ApiError) -> dict:
    """`error`, in OpenAI's form; of an EventError, with the id of the client's event."""
    return server_event("error", error={**error.content, "event_id": getattr(error, "event_id", None)})


class Item:
    """A segment on its way from the first voice to its text."""

    def __init__(self, previous: str | None, start_s: float):
        self.id, self.previous, self.start_s = f"item_{uuid.uuid4().hex}", previous, start_s
        self.is_committed = False
        self._sent = ""  # text in deltas

    def started(self) -> dict:
        start_ms = round(1000 * self.start_s)
        return server_event("input_audio_buffer.speech_started", item_id=self.id, audio_start_ms=start_ms)

    def stopped(self, end_s: float) -> dict:
        return server_event("input_audio_buffer.speech_stopped", item_id=self.id, audio_end_ms=round(1000 * end_s))

    def committed(self, client_event_id: str | None) -> dict:
        """client_event_id: of the `commit` that ended it; None: a pause or the longest length did."""
        ids = {"item_id": self.id, "previous_item_id": self.previous}
        return server_event("input_audio_buffer.committed", **ids, zipperasr={"client_event_id": client_event_id})

    def partial(self, found: Partial) -> dict:
        """`delta` with what is new in the stable text, which is nothing if that contradicts an earlier delta."""
        return self._delta(found.text, found.stable)

    def final(self, segment: Segment, settings: Settings) -> list[dict]:
        """`completed`, and before it the rest of the text as `delta`."""
        rest = self._delta(segment.text, segment.text)
        own = {
            "start_s": segment.start_s,
            "end_s": segment.end_s,
            "language": settings.language,
            "note": segment.note,
            "doubts": doubts(segment, settings.language),
            "avg_logprob": segment.avg_logprob,
            "words": [word_fields(word) for word in segment.words],
        }
        done = server_event(
            f"{_ITEM}.completed",
            item_id=self.id,
            content_index=0,
            transcript=segment.text,
            usage={"type": "duration", "seconds": round(segment.end_s - segment.start_s, 3)},
            zipperasr=own,
            **({"logprobs": token_logprobs([segment])} if settings.logprobs else {}),
        )
        return [rest, done] if rest["delta"] else [done]

    def failed(self, error: ApiError) -> dict:
        return server_event(f"{_ITEM}.failed", item_id=self.id, content_index=0, error=error.content)

    def _delta(self, text: str, stable: str) -> dict:
        new = stable[len(self._sent) :] if stable.startswith(self._sent) else ""
        self._sent += new
        own = {"text": text, "stable": stable}
        return server_event(f"{_ITEM}.delta", item_id=self.id, content_index=0, delta=new, zipperasr=own)
