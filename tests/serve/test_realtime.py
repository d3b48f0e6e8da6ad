"""The WebSocket /v1/realtime, with a plain client and with OpenAI's."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import pytest
import soxr
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.serve.live import NAME, WAIT_S, Live, as_file, recording, running
from tests.serve.test_metrics import samples as metrics
from tests.serve.test_model_queue import Gated, wait_for, wait_for_requests
from tests.transcribe.sound import RATE, noise, silence, speech
from zipperasr.decode.decoder import Decoder
from zipperasr.serve import connections, inbox, realtime
from zipperasr.serve.limits import Limits
from zipperasr.serve.metrics import Metrics
from zipperasr.serve.service import Service
from zipperasr.transcribe import Segment, Transcriber
from zipperasr.transcribe.pcm import PcmReader
from zipperasr.transcribe.stream import Partial

COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"
FAILED = "conversation.item.input_audio_transcription.failed"


def voices(*pauses_s: float, words: str = "eins zwei drei vier") -> np.ndarray:
    """Utterances before pauses, with faint noise."""
    parts = [part for n, pause_s in enumerate(pauses_s) for part in (speech("de", f"{words} {n}"), silence(pause_s))]
    samples = np.concatenate(parts)
    return samples + noise(len(samples) / RATE + 1, 9, 1e-3)[: len(samples)]


def pcm(samples: np.ndarray) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


SPEECH = pcm(voices(0.8, 0.8))


@pytest.fixture(scope="module")
def served(chunked) -> Iterator[Live]:
    with running(Service(chunked, NAME, Limits(max_mb=4))) as live:
        yield live


@pytest.fixture(scope="module")
def expected(chunked, served) -> list[Segment]:
    """The final texts of a stream at 16 kHz; the server is idle."""
    return streamed(chunked, SPEECH)


def streamed(transcriber: Transcriber, data: bytes, lang: str = "de") -> list[Segment]:
    stream = transcriber.stream(lang)
    samples = np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768
    return [one for one in (*stream.feed(samples), *stream.finish()) if isinstance(one, Segment)]


class Client:
    """A plain WebSocket and all events that it has received."""

    def __init__(self, socket: ClientConnection):
        self.socket, self.events = socket, []

    def send(self, kind: str, **fields) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def append(self, data: bytes) -> None:
        self.send("input_audio_buffer.append", audio=base64.b64encode(data).decode())

    def next(self) -> dict:
        self.events.append(json.loads(self.socket.recv(WAIT_S)))
        return self.events[-1]

    def until(self, kind: str) -> dict:
        """The next event of this type."""
        while (event := self.next())["type"] != kind:
            continue
        return event

    def update(self, **given) -> dict:
        """Change the fields of `audio.input` and return the answer."""
        self.send("session.update", session={"type": "transcription", "audio": {"input": given}})
        return self.next()

    def end(self, event_id: str = "end") -> None:
        """Commit until nothing is left."""
        for _ in range(2):
            self.send("input_audio_buffer.commit", event_id=event_id)
        while not any(event["error"]["event_id"] == event_id for event in self.of("error")):
            self.next()

    def of(self, kind: str) -> list[dict]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def texts(self) -> list[str]:
        return [event["transcript"] for event in self.of(COMPLETED)]

    def closed(self) -> ConnectionClosed:
        """Read until the server closes the connection."""
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                self.next()
        return caught.value


@contextmanager
def client(
    live: Live, query: str = "?intent=transcription&language=de", rate: int = RATE, **settings
) -> Iterator[Client]:
    with connect(f"ws://127.0.0.1:{live.port}/v1/realtime{query}", max_size=None, **settings) as socket:
        made = Client(socket)
        assert made.next()["type"] in ("session.created", "error")
        if rate:
            made.update(format={"type": "audio/pcm", "rate": rate})
        yield made


def spoken(live: Live, data: bytes, query: str = "?language=de", size: int = 3200) -> Client:
    """Send all samples as binary messages and wait for the last text."""
    with client(live, query) as made:
        for start in range(0, len(data), size):
            made.socket.send(data[start : start + size])
        made.end()
        return made


@pytest.mark.parametrize("size", [998, 3200, 200_000])
def test_final_texts_equal_those_of_transcribe_stream(served, expected, size):
    found = spoken(served, SPEECH, size=size)
    assert found.texts == [one.text for one in expected] and len(expected) == 2 and all(found.texts)
    for event, segment in zip(found.of(COMPLETED), expected, strict=True):
        own = event["zipperasr"]
        assert (own["start_s"], own["end_s"]) == pytest.approx((segment.start_s, segment.end_s))
        assert own["avg_logprob"] == pytest.approx(segment.avg_logprob, abs=1e-4)
        assert [word["word"] for word in own["words"]] == segment.text.split()
        assert event["usage"] == {
            "type": "duration",
            "seconds": pytest.approx(segment.end_s - segment.start_s, abs=1e-3),
        }


def test_events_of_a_segment_come_in_order_and_deltas_make_its_text(served, expected):
    found = spoken(served, SPEECH, size=3200)
    first = found.of("input_audio_buffer.speech_started")[0]["item_id"]
    kinds = [event["type"].rpartition(".")[2] for event in found.events if event.get("item_id") == first]
    assert kinds[0] == "speech_started" and kinds[-1] == "completed"
    assert kinds.index("speech_stopped") + 1 == kinds.index("committed")
    assert len({event["event_id"] for event in found.events}) == len(found.events)
    committed = found.of("input_audio_buffer.committed")
    assert [event["previous_item_id"] for event in committed] == [None, first]
    for text, event in zip(found.texts, committed, strict=True):
        deltas = [one for one in found.of(DELTA) if one["item_id"] == event["item_id"]]
        assert deltas
        joined = ""
        for delta in deltas:
            joined += delta["delta"]
            assert delta["zipperasr"]["text"].startswith(delta["zipperasr"]["stable"])
            assert not delta["delta"] or delta["zipperasr"]["stable"] == joined
        assert joined == text or not text.startswith(joined)


def test_streams_and_a_recording_at_once_give_the_texts_that_they_give_alone(served, chunked, expected):
    wav = as_file(noise(6.0, 3))
    others = {lang: pcm(voices(0.9, words="uno dos tres")) for lang in ("es", "ja")}
    alone = {lang: [one.text for one in streamed(chunked, data, lang)] for lang, data in others.items()}
    text = served.post(wav, language="es").json()["text"]
    with ThreadPoolExecutor(5) as pool:
        asked = {lang: pool.submit(spoken, served, data, f"?language={lang}") for lang, data in others.items()}
        german = [pool.submit(spoken, served, SPEECH) for _ in range(2)]
        posted = pool.submit(served.post, wav, language="es")
        assert posted.result().json()["text"] == text != ""
        assert {lang: one.result().texts for lang, one in asked.items()} == alone
        assert [one.result().texts for one in german] == [[one.text for one in expected]] * 2
    wait_for("rows_in_use", served, 0)
    wait_for("requests", served, 0)


def test_audio_at_24_khz_is_resampled(served, chunked):
    """OpenAI's default format: nothing but the language is set, and the audio is in JSON."""
    samples = soxr.resample(np.frombuffer(SPEECH, dtype="<i2").astype(np.float32) / 32768, RATE, 24_000)
    data = pcm(samples)
    reader = PcmReader(24_000)
    back = [reader.read(data[start : start + 7680]) for start in range(0, len(data), 7680)]
    stream = chunked.stream("de")
    wanted = [one for part in (*back, reader.flush()) for one in stream.feed(part)] + list(stream.finish())
    with client(served, rate=0) as made:
        assert made.events[0]["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
        for start in range(0, len(data), 5000):
            made.append(data[start : start + 5000])
        made.end()
    assert made.texts == [one.text for one in wanted if isinstance(one, Segment)] != []


def test_commit_ends_a_segment_by_hand(served, chunked):
    data = pcm(voices(0.8, 0.2))
    stream = chunked.stream("de", by_hand=True)
    samples = np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768
    wanted = [one for one in (*stream.feed(samples), *stream.finish()) if isinstance(one, Segment)]
    with client(served) as made:
        assert made.update(turn_detection=None)["session"]["audio"]["input"]["turn_detection"] is None
        made.socket.send(data)
        made.send("input_audio_buffer.commit", event_id="mine")
        made.until(COMPLETED)
        assert made.of("input_audio_buffer.committed")[-1]["zipperasr"] == {"client_event_id": "mine"}
        made.end()
    assert made.texts == [one.text for one in wanted] != []
    assert wanted[0].end_s == pytest.approx(len(samples) / RATE) and not made.of("input_audio_buffer.speech_started")


def test_commit_ends_a_segment_before_its_pause_and_clear_forgets_one(served, chunked):
    half = SPEECH[: 2 * RATE]
    wanted = streamed(chunked, half)
    with client(served) as made:
        for _ in range(2):
            made.socket.send(half)
            made.send("input_audio_buffer.clear")
            made.until("input_audio_buffer.cleared")
        made.socket.send(half)
        made.send("input_audio_buffer.commit")
        start_s = made.until(COMPLETED)["zipperasr"]["start_s"]
        made.end()
    assert made.texts == [one.text for one in wanted] and len(wanted) == 1
    assert start_s == pytest.approx(2 + wanted[0].start_s)
    assert made.of("input_audio_buffer.committed")[0]["previous_item_id"] is None
    assert made.of("error")[0]["error"]["code"] == "input_audio_buffer_commit_empty"
    assert made.of("error")[0]["error"]["event_id"] == "end"


def test_logprobs_are_sent_if_they_are_included(served, monkeypatch):
    monkeypatch.setattr(Transcriber, "takes_hints", False)  # as with vLLM, which has log-probabilities
    with client(served) as made:
        made.send("session.update", session={"include": ["item.input_audio_transcription.logprobs"]})
        assert made.next()["session"]["include"] == ["item.input_audio_transcription.logprobs"]
        made.socket.send(SPEECH)
        event = made.until(COMPLETED)
    assert "".join(token["token"] for token in event["logprobs"]).strip() == event["transcript"]
    assert all(
        token["logprob"] <= 0 and bytes(token["bytes"]).decode() == token["token"] for token in event["logprobs"]
    )


def test_the_older_form_of_the_settings_is_accepted(served):
    given = {"input_audio_format": "pcm16", "input_audio_transcription": {"language": "ES"}, "turn_detection": None}
    with client(served, "", 0) as made:
        made.send("transcription_session.update", session=given)
        event = made.next()
    found = event["session"]["audio"]["input"]
    assert event["type"] == "session.updated" and found["transcription"] == {"model": NAME, "language": "es"}
    assert found["format"]["rate"] == 24_000 and found["turn_detection"] is None


def test_openais_client_transcribes_a_stream(served, expected):
    openai = pytest.importorskip("openai", reason="openai is not installed; run pip install -e '.[dev]'")
    made = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none")
    with made, made.realtime.connect(model=NAME, extra_query={"intent": "transcription"}) as connection:
        found = {"format": {"type": "audio/pcm", "rate": RATE}, "transcription": {"language": "de"}}
        connection.session.update(session={"type": "transcription", "audio": {"input": found}})
        connection.input_audio_buffer.append(audio=base64.b64encode(SPEECH).decode())
        texts, kinds = [], []
        while len(texts) < 2:
            event = connection.recv()
            kinds.append(type(event).__name__)
            if event.type == COMPLETED:
                texts.append(event.transcript)
    assert texts == [one.text for one in expected]
    assert kinds[:3] == ["SessionCreatedEvent", "SessionUpdatedEvent", "InputAudioBufferSpeechStartedEvent"]


REFUSED = [
    ("no json", None, "invalid_json", "the message is not JSON"),
    ("[1]", None, "invalid_value", "the message: got list, wanted an object"),
    ('"' + "[" * 100_000, None, "invalid_json", "the message is not JSON"),
    ("[" * 100_000, None, "invalid_json", "the message is not JSON"),
    ({"type": "response.create"}, "type", "unknown_event", "type: got 'response.create'; choose from session.update"),
    (
        {"type": "input_audio_buffer.append"},
        "audio",
        "invalid_audio",
        "audio: wanted 16-bit little-endian mono samples",
    ),
    ({"type": "input_audio_buffer.append", "audio": "?"}, "audio", "invalid_audio", "in base64"),
    ({"type": "session.update"}, "session", "invalid_value", "session: got NoneType, wanted an object"),
    (
        {"type": "session.update", "session": {"type": "realtime"}},
        "session.type",
        "invalid_value",
        "wanted 'transcription'",
    ),
    (
        {"type": "session.update", "session": {"voice": "x"}},
        "session.voice",
        "unknown_parameter",
        "unknown field 'voice'",
    ),
    ({"type": "session.update", "session": {"include": ["x"]}}, "include", "invalid_value", "include: got ['x']"),
]
INPUTS = [
    ({"format": {"type": "audio/pcmu"}}, "invalid_value", "got type 'audio/pcmu', wanted 'audio/pcm'"),
    ({"format": {"type": "audio/pcm", "rate": 1}}, "invalid_value", "got rate 1, wanted 8000 to 48000"),
    ({"transcription": {"language": "xx"}}, "unsupported_language", "language 'xx' is not one of the model's"),
    ({"transcription": {"model": "x"}}, "model_not_found", f"the loaded model is '{NAME}'"),
    ({"transcription": {"prompt": "Ada"}}, "unsupported_parameter", "prompt: a stream takes no hints"),
    ({"turn_detection": {"type": "semantic_vad"}}, "invalid_value", "wanted 'server_vad' or null"),
]
REFUSED += [
    ({"type": "session.update", "session": {"audio": {"input": given}}}, ..., code, message)
    for given, code, message in INPUTS
]


@pytest.mark.parametrize(("message", "param", "code", "text"), REFUSED)
def test_a_refused_event_is_an_error_and_the_stream_continues(served, message, param, code, text):
    event = {**message, "event_id": "mine"} if isinstance(message, dict) else None
    with client(served) as made:
        made.socket.send(json.dumps(event) if event else message)
        error = made.next()["error"]
        assert set(error) == {"type", "code", "message", "param", "event_id"}
        assert (error["type"], error["code"]) == ("invalid_request_error", code)
        assert text in error["message"] and len(error["message"]) <= 500
        assert error["param"] == param or param is ...
        assert error["event_id"] == ("mine" if event else None)
        assert made.update()["type"] == "session.updated"


LONG = "x" * 500_000


@pytest.mark.parametrize(
    "event",
    [
        {"type": LONG},
        {"type": [LONG] * 2},
        {"type": "input_audio_buffer.commit", "event_id": LONG},
        {"type": "session.update", "session": {LONG: 1}},
        {"type": "session.update", "session": {"type": LONG}},
        {"type": "session.update", "session": {"audio": {"input": {"transcription": {"language": LONG}}}}},
        {"type": "session.update", "session": {"include": [LONG]}},
    ],
)
def test_long_strings_are_shortened_in_errors(served, event):
    with client(served) as made:
        made.socket.send(json.dumps(event))
        error = made.next()["error"]
        assert len(json.dumps(error)) < 800 and "xxxxx" * 20 not in error["message"]


def test_audio_needs_a_language_and_settles_it(served):
    with client(served, "?intent=transcription") as made:
        made.append(b"\0\0")
        error = made.next()["error"]
        assert (
            error["code"] == "language_missing"
            and "set it to one of de, es, ja before sending audio" in error["message"]
        )
        made.update(transcription={"language": "de"})
        made.append(bytes(3200))
        assert made.update(transcription={"language": "de"})["type"] == "session.updated"
        assert made.update(transcription={"language": "es"})["error"]["code"] == "session_fixed"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?model=other", "model_not_found"),
        ("?language=xx", "unsupported_language"),
        ("?intent=conversation", "invalid_value"),
        ("?langauge=de", "unknown_parameter"),
    ],
)
def test_parameters_that_are_refused_end_the_connection(served, query, code):
    with client(served, query, 0) as made:
        assert made.events[0]["error"]["code"] == code
        assert made.closed().rcvd.code == 1008


def test_a_model_with_full_context_has_no_streams(live):
    with client(live, "", 0) as made:
        assert made.events[0]["error"]["code"] == "no_streams"
    assert live.client.get("/model.json").json()["streams"] is False


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
def test_a_foreign_host_or_origin_is_refused(served, headers):
    with socket.create_connection(("127.0.0.1", served.port), WAIT_S) as raw:
        raw.sendall(handshake(**headers))
        assert raw.recv(65536).startswith(b"HTTP/1.1 403 ")


def handshake(**headers: str) -> bytes:
    """The bytes that open a WebSocket."""
    given = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **headers,
    }
    lines = ["GET /v1/realtime?language=de HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_with_keys_a_stream_needs_one(chunked):
    key = "0123456789abcdef"
    with running(Service(chunked, NAME, Limits()), keys=[key]) as locked:
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{locked.port}/v1/realtime")
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body)["error"]["code"] == "invalid_api_key"
        with client(locked, additional_headers={"Authorization": f"Bearer {key}"}) as made:
            assert made.events[0]["type"] == "session.created"


@pytest.mark.parametrize("limits", [{"max_streams": 2}, {"max_running": 2, "max_waiting": 1}])
def test_streams_are_limited_and_count_as_requests_and_leave_a_slot(chunked, limits):
    with running(Service(chunked, NAME, Limits(**limits))) as live, client(live), client(live):
        assert live.client.get("/health").json()["requests"] == 2
        assert live.post(recording(0.5)).status_code == 200
        with client(live, rate=0) as third:
            assert third.events[0]["error"]["message"] == "busy: 2 streams are open; try again later"
            assert third.closed().rcvd.code == 1013


def test_a_client_that_vanishes_frees_its_row(chunked, capsys):
    service = Gated(chunked, NAME, Limits())
    with running(service) as live:
        with socket.create_connection(("127.0.0.1", live.port), WAIT_S) as raw:
            raw.sendall(handshake())
            raw.recv(65536)
            size = len(SPEECH)
            raw.sendall(b"\x82\xff" + size.to_bytes(8, "big") + bytes(4) + SPEECH)  # masked with zeros
            assert service.reached.wait(WAIT_S)
        wait_for_requests(live, 0)
        service.gate.set()
        wait_for("rows_in_use", live, 0)
        assert live.post(recording(0.5)).status_code == 200
    assert "code=1006" in capsys.readouterr().err


def test_a_client_that_sends_nothing_is_disconnected(chunked):
    with running(Service(chunked, NAME, Limits(idle_s=0.3))) as live, client(live) as made:
        made.send("input_audio_buffer.clear")
        assert made.closed().rcvd.code == 1008
        assert made.events[-1]["error"]["code"] == "idle_timeout"
        wait_for_requests(live, 0)


def test_a_client_is_not_idle_while_its_audio_is_transcribed(chunked):
    service = Gated(chunked, NAME, Limits(idle_s=0.3))
    with running(service) as live, client(live) as made:
        made.socket.send(SPEECH[: 2 * RATE])
        made.send("input_audio_buffer.commit")
        assert service.reached.wait(WAIT_S)
        time.sleep(1.0)
        service.gate.set()
        made.until(COMPLETED)
        assert made.closed().rcvd.code == 1008


def test_a_client_that_pings_and_never_reads_is_disconnected(chunked, capsys):
    with running(Service(chunked, NAME, Limits())) as live:
        with socket.create_connection(("127.0.0.1", live.port), WAIT_S) as raw:
            raw.sendall(handshake())
            raw.recv(65536)
            ping = b"\x89\xfd" + bytes(4) + bytes(125)
            with pytest.raises(ConnectionError):
                for _ in range(500):  # 65 MB
                    raw.sendall(ping * 1000)
        wait_for_requests(live, 0)
    assert "code=1006" in capsys.readouterr().err


def test_a_client_that_never_reads_is_disconnected_and_delays_nobody(chunked, monkeypatch, capsys):
    monkeypatch.setattr(realtime, "SEND_S", 0.3)
    with running(Service(chunked, NAME, Limits())) as live:
        with socket.create_connection(("127.0.0.1", live.port), WAIT_S) as raw:
            raw.sendall(handshake())
            bad = b"\x81\x8a" + bytes(4) + b"x" * 10  # not JSON: answered with an error of 200 bytes
            end = time.monotonic() + WAIT_S
            with pytest.raises(ConnectionError):
                while time.monotonic() < end:
                    raw.sendall(bad * 1000)
                    assert live.client.get("/health").status_code == 200
        wait_for_requests(live, 0)
    assert "code=1006" in capsys.readouterr().err


def test_a_client_that_sends_faster_than_the_model_has_to_wait(chunked, monkeypatch):
    """With the model held, the server takes no more than the limit and what is in its socket's buffers."""
    monkeypatch.setattr(inbox, "MAX_WAITING_S", 2.0)
    service = Gated(chunked, NAME, Limits())
    with running(service) as live, client(live) as made:
        sent, block = 0, pcm(voices(0.2))[:RATE]
        made.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        done = threading.Event()

        def send() -> None:
            nonlocal sent
            with suppress(ConnectionClosed):
                for _ in range(1200):  # ten minutes
                    made.socket.send(block)
                    sent += 1
                done.set()

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        assert service.reached.wait(WAIT_S)
        assert not done.wait(1.0)
        connection = next(iter(service.streams.open))
        assert connection._inbox.waiting_s <= 2.0 + 0.5
        assert sent < 1200
        made.socket.socket.shutdown(socket.SHUT_RDWR)
        thread.join(WAIT_S)
        service.gate.set()
        wait_for_requests(live, 0)


@pytest.mark.parametrize("message", [b"\0" * (2**20 + 2), "x" * (2**20 + 1)], ids=["samples", "text"])
def test_a_message_that_is_too_large_ends_the_connection(served, message):
    with client(served) as made:
        with suppress(ConnectionClosed):
            made.socket.send(message)
        assert made.closed().rcvd.code == 1009


def test_a_stream_that_is_behind_skips_partial_texts_but_no_final_ones(served, chunked, expected):
    samples = np.frombuffer(SPEECH, dtype="<i2").astype(np.float32) / 32768
    partials = [one for one in chunked.stream("de").feed(samples) if isinstance(one, Partial)]
    eager = spoken(served, SPEECH, size=len(SPEECH))  # all at once
    assert eager.texts == [one.text for one in expected]
    ends = [event["zipperasr"]["text"] == event["zipperasr"]["stable"] for event in eager.of(DELTA)]
    assert ends.count(False) <= 1 < len(partials) - 1


def test_what_the_model_cannot_decode_is_reported_and_the_stream_continues(chunked, monkeypatch, capsys):
    encode, broken = Decoder._encode_batch, threading.Event()

    def sometimes(self, examples, hooks):
        if broken.is_set():
            raise RuntimeError("a secret")
        return encode(self, examples, hooks)

    half = SPEECH[: 2 * RATE]  # one second
    alone = chunked.stream("de")
    for data in (half, SPEECH):
        wanted = [*alone.feed(np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768), *alone.finish()]
    monkeypatch.setattr(Decoder, "_encode_batch", sometimes)
    with running(Service(chunked, NAME, Limits())) as live, client(live) as made:
        broken.set()
        made.socket.send(half)
        made.send("input_audio_buffer.commit")
        error = made.until(FAILED)["error"]
        broken.clear()
        made.socket.send(SPEECH)
        made.end()
    assert error["code"] == "model_error" and "a secret" not in error["message"]
    assert made.texts == [one.text for one in wanted if isinstance(one, Segment)] != []
    assert "RuntimeError: a secret" in capsys.readouterr().err


def test_a_server_that_stops_finishes_open_segments(chunked, expected):
    service = Service(chunked, NAME, Limits())
    with running(service) as live, client(live) as made:
        made.socket.send(SPEECH[: -2 * RATE])
        made.until("input_audio_buffer.speech_started")
        service.refuse_further()
        assert made.closed().rcvd.code == 1012
    assert made.events[-1]["error"]["code"] == "shutting_down"
    assert made.texts == [one.text for one in expected]


def test_after_the_time_of_grace_streams_are_closed(chunked):
    service = Gated(chunked, NAME, Limits(grace_s=1))
    with client_of(service) as made:
        made.socket.send(SPEECH)
        assert service.reached.wait(WAIT_S)
    start = time.monotonic()
    assert made.closed().rcvd.code == 1012
    assert time.monotonic() - start < WAIT_S


@contextmanager
def client_of(service: Service) -> Iterator[Client]:
    """A client whose server stops when the context ends."""
    with ExitStack() as stack:
        live = stack.enter_context(running(service))
        socket = connect(f"ws://127.0.0.1:{live.port}/v1/realtime?language=de")
        yield Client(socket)


def test_streams_are_counted_and_logged(chunked, capsys):
    with running(Service(chunked, NAME, Limits())) as live:
        with client(live, additional_headers={"X-Request-Id": "mine"}) as made:
            assert made.socket.response.headers["x-request-id"] == "mine"
            made.socket.send(SPEECH)
            made.end()
            assert metrics(live)["zipperasr_streams_open"] == 1
        with client(live) as made:
            made.socket.close(4321)
        wait_for_requests(live, 0)
        found = metrics(live)
    seconds = len(SPEECH) / 2 / RATE
    assert found["zipperasr_streams_total[1000]"] == 1 and found["zipperasr_streams_open"] == 0
    assert found["zipperasr_streams_total[other]"] == 1
    assert found["zipperasr_audio_seconds_total"] == pytest.approx(seconds)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "stream id=mine" in line)
    wanted = rf"stream id=mine code=1000 audio_s={seconds:.2f} language=de segments=2 partials=\d+ skipped=\d+ total_s="
    assert re.search(wanted, line)


def test_a_stream_that_is_cancelled_while_it_closes_is_counted_and_logged(chunked, monkeypatch, capsys):
    """A client reads nothing, so the close takes longer than the server waits, and asyncio cancels it again."""
    monkeypatch.setattr(connections, "ANSWER_S", 0.2)
    counted = []
    monkeypatch.setattr(Metrics, "count_stream", lambda self, code: counted.append(code))
    with running(Service(chunked, NAME, Limits(grace_s=0))) as live:
        raw = socket.create_connection(("127.0.0.1", live.port), WAIT_S)
        raw.sendall(handshake())
        raw.settimeout(0.5)
        bad = b"\x81\x8a" + bytes(4) + b"x" * 10
        with suppress(TimeoutError):  # until the server waits for the client
            while True:
                raw.sendall(bad * 1000)
    raw.close()
    assert counted == [1012]
    assert "code=1012" in capsys.readouterr().err
