"""The endpoint with OpenAI's client library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model import tiny
from tests.serve.live import NAME, Live, recording, running
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
    assert [word.word for word in found.words] == found.text.split()
    assert all(0 <= word.start <= word.end <= 1.5 for word in found.words)
