"""The endpoint with OpenAI's client library."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from tests.model import tiny
from tests.serve.live import NAME, Live, as_file, recording, running
from tests.transcribe.conftest import SHORT
from zipperasr.align.aligner import Aligner, AlignerConfig
from zipperasr.serve.limits import Limits
from zipperasr.serve.service import Service
from zipperasr.transcribe import Transcriber

openai = pytest.importorskip("openai", reason="openai is not installed; run pip install -e '.[dev]'")


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def speech(tmp_path):
    path = tmp_path / "speech.flac"
    path.write_bytes(recording(kind="FLAC"))
    with path.open("rb") as stream:
        yield stream


def test_a_transcription_has_text(client, speech, live):
    found = client.audio.transcriptions.create(file=speech, model=NAME, language="de")
    speech.seek(0)
    assert found.text == live.post(speech.read(), language="de").json()["text"] != ""
    assert found.usage.seconds == 1.5


def test_verbose_json_is_typed(client, speech):
    found = client.audio.transcriptions.create(
        file=speech, model=NAME, response_format="verbose_json", timestamp_granularities=["segment"]
    )
    assert found.duration == 1.5
    assert [(one.id, one.start, one.end) for one in found.segments] == [(0, 0.0, 1.5)]
    assert found.zipperasr["language_code"] in found.zipperasr["language_probabilities"]


@pytest.mark.parametrize(("name", "start"), [("srt", "1\n00:00:00,000 --> "), ("vtt", "WEBVTT\n"), ("text", "")])
def test_subtitles_and_text_are_strings(client, speech, name, start):
    found = client.audio.transcriptions.create(file=speech, model=NAME, language="es", response_format=name)
    assert isinstance(found, str) and found.startswith(start) and found.endswith("\n")


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).owned_by == "zipperasr"


def test_errors_become_exceptions_of_the_client(client, speech):
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.transcriptions.create(file=speech, model="whisper-1")
    assert caught.value.code == "model_not_found"
    speech.seek(0)
    with pytest.raises(openai.BadRequestError, match="language 'xx' is not one of the model's") as caught:
        client.audio.transcriptions.create(file=speech, model=NAME, language="xx")
    assert caught.value.param == "language"
    with pytest.raises(openai.APIStatusError, match="larger than 1 MB") as caught:
        client.audio.transcriptions.create(file=("a.wav", bytes(2**21)), model=NAME)
    assert caught.value.status_code == 413


def test_words_have_times(transcriber, speech):
    sizes = {"width": tiny.D_ENCODER, "hidden": 8, "kernel": 3, "prior": 0.5}
    aligner = Aligner(AlignerConfig(model="", characters="abc", **sizes)).eval()
    timing = Service(Transcriber(transcriber.opened, SHORT, aligner=aligner), NAME, Limits(max_mb=1, max_s=20))
    with running(timing) as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        found = client.audio.transcriptions.create(
            file=speech,
            model=NAME,
            language="es",
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
    assert "".join(word.word for word in found.words) == found.text.replace(" ", "") != ""
    assert all(0 <= word.start <= word.end <= 1.5 for word in found.words)


@pytest.fixture(scope="module")
def beam(transcriber) -> Iterator[Live]:
    """A server with lists of three texts."""
    config = dataclasses.replace(SHORT, beam=4, nbest=3, retry_loops=False)
    with running(Service(Transcriber(transcriber.opened, config), NAME, Limits(max_mb=1, max_s=20))) as server:
        yield server


@pytest.fixture(scope="module")
def of_beam(beam) -> Iterator:
    with openai.OpenAI(base_url=f"{beam.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_alternatives_are_those_of_the_transcriber(beam, of_beam, speech):
    wanted = beam.service.transcriber(samples_in(speech), lang="de").segments[0].alternatives
    settings = {"file": speech, "model": NAME, "language": "de"}
    for n_best in (1, 3):
        more = {"extra_body": {"n_best": n_best}}
        speech.seek(0)
        plain = of_beam.audio.transcriptions.create(**settings, **more)
        speech.seek(0)
        verbose = of_beam.audio.transcriptions.create(**settings, **more, response_format="verbose_json")
        (of_segment,) = plain.zipperasr["alternatives"]
        assert verbose.segments[0].alternatives == of_segment
        assert [one["text"] for one in of_segment] == [text for text, _ in wanted][:n_best]
        scores = [score for _, score in wanted][:n_best]
        assert [one["score"] for one in of_segment] == pytest.approx(scores, abs=1e-4)
        assert plain.text == verbose.text == of_segment[0]["text"]
    assert len(wanted) > 1


def test_without_n_best_a_server_with_lists_answers_as_one_without(beam, of_beam, speech):
    found = of_beam.audio.transcriptions.create(file=speech, model=NAME, language="de")
    assert found.text and not hasattr(found, "zipperasr")
    body = beam.post(recording(), language="de", response_format="verbose_json").json()
    assert "alternatives" not in body["segments"][0] and body["segments"][0]["avg_logprob"] is None


def test_a_recording_without_speech_has_empty_lists(beam):
    silent = as_file(np.zeros(16_000, dtype=np.float32))
    assert beam.post(silent, language="de", n_best="2").json()["zipperasr"] == {"alternatives": [[]]}
    segments = beam.post(silent, language="de", n_best="2", response_format="verbose_json").json()["segments"]
    assert [one["alternatives"] for one in segments] == [[]]


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        ({"n_best": "0"}, "n_best: got '0', wanted a whole number from 1 to 3, the server's --nbest", "n_best"),
        ({"n_best": "4"}, "n_best: got '4', wanted a whole number from 1 to 3", "n_best"),
        ({"n_best": "two"}, "n_best: got 'two', wanted a whole number", "n_best"),
        ({"n_best": ""}, "n_best: got '', wanted a whole number", "n_best"),
        ({"n_best": "9" * 30}, "n_best: got '9", "n_best"),
        ({"n_best": "2", "response_format": "srt"}, "got response_format srt, wanted json or verbose_json", "n_best"),
        ({"prompt": "Zorblat"}, "prompt: hints need this project's own greedy search", "prompt"),
        ({"include[]": "logprobs"}, "include[]: beam search reports no log-prob", "include[]"),
    ],
)
def test_what_beam_search_cannot_do_is_an_error(beam, fields, message, param):
    response = beam.post(recording(0.3), language="de", **fields)
    error = response.json()["error"]
    assert response.status_code == 400 and message in error["message"] and error["param"] == param


@pytest.mark.parametrize("value", ["1", "3"])
def test_a_server_without_lists_says_how_to_start_one_with_them(live, value):
    error = live.post(recording(0.3), language="de", n_best=value).json()["error"]
    assert "this server keeps one text; start it with `zipperasr serve --beam 4 --nbest 4`" in error["message"]


def samples_in(stream) -> np.ndarray:
    samples, _ = soundfile.read(stream, dtype="float32")
    return samples
