"""`stream=true`: server-sent events in the form of OpenAI's API."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.serve.live import NAME, WAIT_S, Live, as_file, recording, request, running
from tests.serve.test_model_queue import gated, wait_for
from tests.transcribe.conftest import SHORT
from tests.transcribe.sound import silence, with_pauses
from zipperasr.decode.decoder import Decoder
from zipperasr.serve.limits import Limits
from zipperasr.serve.service import Service
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.live import LiveTranscriber

openai = pytest.importorskip("openai", reason="openai is not installed; run pip install -e '.[dev]'")
THREE = as_file(with_pauses([6.0, 7.0, 5.0]))  # three pieces
PATH = "/v1/audio/transcriptions"


class HeldLive(LiveTranscriber):
    """Holds the model before it takes its second piece."""

    def __init__(self, *arguments):
        self.gate, self.num_taken = threading.Event(), 0
        super().__init__(*arguments)

    def _take(self, *arguments):
        while self.num_taken == 1 and not self.gate.wait(0.01):
            self._check()
        batch = super()._take(*arguments)
        self.num_taken += len(batch or ())
        return batch


@pytest.fixture(scope="module")
def own(transcriber) -> Transcriber:
    """Pieces of at most 8 s, one at a time."""
    experiment = dataclasses.replace(transcriber.opened.experiment, longest_s=8.0)
    opened = dataclasses.replace(transcriber.opened, experiment=experiment)
    return Transcriber(opened, dataclasses.replace(SHORT, batch_size=1))


@pytest.fixture(scope="module")
def served(own) -> Iterator[Live]:
    with running(Service(own, NAME, Limits(max_mb=1, max_s=20))) as live:
        yield live


@contextmanager
def held(own: Transcriber, **limits) -> Iterator[Live]:
    service = Service(own, NAME, Limits(max_mb=1, max_s=20, **limits))
    service.live.close()
    service.live = HeldLive(own, 8)
    with running(service) as live:
        yield live


@contextmanager
def asked(live: Live, **fields: str) -> Iterator[Iterator[dict]]:
    """Post the recording; yields an iterator over the events."""
    form = {"language": "de", "stream": "true", **fields}
    with live.client.stream("POST", PATH, files={"file": ("a.wav", THREE)}, data=form) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield (json.loads(line.removeprefix("data: ")) for line in response.iter_lines() if line)


@pytest.mark.parametrize("include", [[], ["logprobs"]])
def test_the_deltas_are_the_text(served: Live, include):
    fields = {"language": "de", "include[]": include}
    whole = served.post(THREE, **fields).json()
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        events = list(
            client.audio.transcriptions.create(
                file=("a.wav", THREE), model=NAME, language="de", stream=True, include=include or openai.omit
            )
        )
    *deltas, done = events
    assert [one.type for one in events] == ["transcript.text.delta"] * 3 + ["transcript.text.done"]
    assert "".join(one.delta for one in deltas) == done.text == whole["text"]
    assert not deltas[0].delta.startswith(" ") and all(one.delta.startswith(" ") for one in deltas[1:])
    assert done.usage.to_dict() == whole["usage"]
    if include:
        parts = [[token.to_dict() for token in one.logprobs] for one in events]
        assert all(parts) and [*parts[0], *parts[1], *parts[2]] == parts[3] == whole["logprobs"]
    else:
        assert all(one.logprobs is None for one in events)


def test_a_segment_is_sent_before_the_next_is_decoded(own, capsys):
    with held(own) as live, asked(live) as events:
        first = next(events)
        assert live.service.live.num_taken == 1
        live.service.live.gate.set()
        *others, done = events
        assert len(others) == 2 and done["text"] == "".join(one["delta"] for one in (first, *others))
        wait_for("requests", live, 0)
    assert "status=200 audio_s=19.20 language=de" in capsys.readouterr().err


def test_silence_is_an_empty_text(served: Live):
    response = served.post(as_file(silence(1.0)), language="de", stream="true")
    usage = {"type": "duration", "seconds": 1.0}
    assert response.text.startswith("data: ") and response.text.endswith("\n\n")
    assert json.loads(response.text[6:]) == {"type": "transcript.text.done", "text": "", "usage": usage}


@pytest.mark.parametrize("value", ["false", "False", ""])
def test_without_streaming_the_answer_is_json(served: Live, value):
    assert served.post(recording(), language="de", stream=value).json()["text"]


def test_an_error_before_the_first_event_has_its_status(served: Live, own):
    assert served.post(b"no audio", stream="true").status_code == 400
    with running(gated(own, timeout_s=0.3)) as live:
        response = live.post(THREE, stream="true")
        assert response.status_code == 504 and response.json()["error"]["code"] == "timeout"


def test_a_failing_model_ends_the_stream_with_an_error(own, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("a secret")

    with held(own) as live, openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client:
        events = client.audio.transcriptions.create(file=("a.wav", THREE), model=NAME, language="de", stream=True)
        assert next(events).type == "transcript.text.delta"
        monkeypatch.setattr(Decoder, "_encode_batch", fail)
        live.service.live.gate.set()
        with pytest.raises(openai.APIError, match=r"internal error \(RuntimeError\) in a batch") as caught:
            next(events)
        assert caught.value.code == "model_error"
        wait_for("requests", live, 0)
    assert "status=500 total_s=" in capsys.readouterr().err


def test_an_unexpected_exception_ends_the_stream_with_an_error(own, monkeypatch, capsys):
    with held(own) as live, asked(live) as events:
        assert next(events)["type"] == "transcript.text.delta"
        monkeypatch.setattr("zipperasr.serve.event_stream.join_texts", lambda _: 1 / 0)
        live.service.live.gate.set()
        (error,) = events
        assert error["error"]["message"] == "internal error (ZeroDivisionError); see the server's log"
        wait_for("running", live, 0)
    found = capsys.readouterr().err
    assert "status=500 total_s=" in found and "ZeroDivisionError: division by zero" in found


def test_the_time_limit_ends_the_stream_with_an_error(own, capsys):
    with held(own, timeout_s=1.0) as live, asked(live) as events:
        delta, error = events
        assert delta["type"] == "transcript.text.delta"
        assert error["type"] == "error" and error["error"]["code"] == "timeout"
        wait_for("running", live, 0)
    assert "status=504 total_s=" in capsys.readouterr().err


def test_a_server_that_stops_ends_the_stream_with_an_error(own, capsys):
    with held(own, grace_s=0) as live, asked(live) as events:
        assert next(events)["type"] == "transcript.text.delta"
        live.server.should_exit = True
        (error,) = events
        assert error["error"]["code"] == "shutting_down"
    assert "status=503 total_s=" in capsys.readouterr().err


def test_a_disconnecting_client_frees_its_rows(own, capsys):
    fields = b'Content-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n--x\r\n'
    with held(own) as live:
        with socket.create_connection(("127.0.0.1", live.port), WAIT_S) as client:
            client.sendall(request(THREE, fields))
            assert client.recv(12) == b"HTTP/1.1 200"
        wait_for("requests", live, 0)
        wait_for("running", live, 0)
        live.service.live.gate.set()
        wait_for("rows_in_use", live, 0)
        assert live.post(recording(), language="de").status_code == 200
    assert "status=499 total_s=" in capsys.readouterr().err
