"""POST /v1/audio/transcriptions: all response formats and all errors."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from tests.model import tiny
from tests.serve.live import NAME, WAIT_S, Live, as_file, form, recording, running
from zipperasr.audio import load
from zipperasr.model import backbones
from zipperasr.serve import upload
from zipperasr.serve.limits import Limits
from zipperasr.serve.service import Service
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.doubts import doubts
from zipperasr.transcribe.formats import srt, vtt
from zipperasr.transcribe.live_state import MANY_FAILURES

SPEECH = recording()
SILENCE = as_file(np.zeros(16_000, dtype=np.float32))


@pytest.fixture(scope="module")
def expected(transcriber):
    """The result of the library for the same recording."""
    samples = np.frombuffer(SPEECH[44:], dtype="<i2") / np.float32(32768)
    return transcriber(samples, "de")


def refusal(response, status: int) -> dict:
    """The error message, from OpenAI's format."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    (error,) = response.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("invalid_request_error" if status < 500 else "server_error")
    assert "\n" not in error["message"]
    return error


def test_json_is_the_default(live: Live, expected):
    response = live.post(SPEECH, model=NAME, language="de")
    assert response.status_code == 200
    assert expected.text
    assert response.json() == {"text": expected.text, "usage": {"type": "duration", "seconds": 1.5}}


@pytest.mark.parametrize(
    ("name", "form", "kind"),
    [("text", lambda _, t: f"{t.text}\n", "text/plain"), ("srt", srt, "text/plain"), ("vtt", vtt, "text/vtt")],
)
def test_text_and_subtitles_equal_those_of_the_library(live: Live, expected, name, form, kind):
    response = live.post(SPEECH, language="de", response_format=name)
    assert response.text == form("", expected)
    assert response.headers["content-type"] == f"{kind}; charset=utf-8"


def test_verbose_json_has_language_segment_times_and_processing_time(live: Live, expected):
    answer = live.post(SPEECH, language="de", response_format="verbose_json").json()
    assert {key: answer[key] for key in ("task", "language", "duration", "text")} == {
        "task": "transcribe",
        "language": "german",
        "duration": 1.5,
        "text": expected.text,
    }
    (segment,) = answer["segments"]
    (wanted,) = expected.segments
    assert segment.pop("avg_logprob") == pytest.approx(wanted.avg_logprob)
    found = {
        "id": 0,
        "start": 0.0,
        "end": 1.5,
        "text": expected.text,
        "note": wanted.note,
        "doubts": doubts(wanted, "de"),
        "words": [{"word": word.text, "confidence": word.confidence} for word in wanted.words],
    }
    assert segment == found
    assert [word["word"] for word in segment["words"]] == expected.text.split()
    assert all(0 < word["confidence"] <= 1 for word in segment["words"]) and "words" not in answer
    own = answer["zipperasr"]
    assert own["language_code"] == "de" and own["language_probabilities"] == {}
    assert own["transcribed_s"] > 0 and own["waited_s"] >= 0


def test_without_a_language_it_is_detected(live: Live, transcriber):
    own = live.post(SPEECH, response_format="verbose_json").json()["zipperasr"]
    probabilities = own["language_probabilities"]
    assert list(probabilities) == list(tiny.CODES)
    assert sum(probabilities.values()) == pytest.approx(1)
    assert own["language_code"] == max(probabilities, key=probabilities.get)
    empty = live.post(SPEECH, response_format="verbose_json", language="").json()["zipperasr"]
    assert empty["language_probabilities"] == probabilities


def test_temperature_changes_nothing(live: Live, expected):
    response = live.post(SPEECH, language="DE", prompt="", temperature="0.8", chunking_strategy="auto")
    assert response.json()["text"] == expected.text


def test_a_prompt_is_a_list_of_hints(live: Live, expected, transcriber):
    samples = np.frombuffer(SPEECH[44:], dtype="<i2") / np.float32(32768)
    hinted = transcriber(samples, "de", hints=list("abcdefghij")).text
    assert hinted != expected.text
    assert live.post(SPEECH, language="de", prompt="a, b,c\nd;e,f,g,h,i,j").json()["text"] == hinted


@pytest.mark.parametrize("prompt", [",".join(map(str, range(201))), "x, " * 2700, "x" * 201])
def test_a_large_prompt_is_refused_before_the_audio_is_decoded(live: Live, prompt):
    error = refusal(live.post(b"no audio", prompt=prompt), 400)
    assert error["param"] == "prompt" and error["code"] == "unsupported_value"
    assert error["message"].startswith("prompt: ") and "wanted at most" in error["message"]


@pytest.mark.parametrize("name", ["include[]", "include"])
def test_json_may_include_log_probabilities(live: Live, expected, name):
    answer = live.post(SPEECH, language="de", **{name: "logprobs"}).json()
    assert answer["text"] == expected.text
    assert "".join(token["token"] for token in answer["logprobs"]).strip() == expected.text
    for token, wanted in zip(answer["logprobs"], expected.segments[0].tokens, strict=True):
        assert bytes(token["bytes"]).decode() == token["token"] == wanted.text
        assert token["logprob"] == pytest.approx(wanted.logprob)


def test_log_probabilities_need_json(live: Live):
    error = refusal(live.post(SPEECH, response_format="verbose_json", **{"include[]": "logprobs"}), 400)
    assert error["message"] == "include[]: logprobs need response_format json, got 'verbose_json'"
    error = refusal(live.post(SPEECH, **{"include[]": "tokens"}), 400)
    assert error["message"] == "include[]: got 'tokens'; choose from logprobs"


def test_words_need_an_aligner(live: Live):
    fields = {"language": "de", "response_format": "verbose_json"}
    assert live.post(SPEECH, **fields, **{"timestamp_granularities[]": "segment"}).status_code == 200
    error = refusal(live.post(SPEECH, **fields, **{"timestamp_granularities[]": "word"}), 400)
    assert error["message"].startswith("timestamp_granularities[]: this model has no aligner")
    error = refusal(live.post(SPEECH, **fields, **{"timestamp_granularities[]": "letter"}), 400)
    assert error["message"] == "timestamp_granularities[]: got 'letter'; choose from segment, word"


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("timestamp_granularities[]", ["word", "segment"], "this model has no aligner"),
        ("timestamp_granularities[]", ["segment", "word"], "this model has no aligner"),
        ("timestamp_granularities", ["letter", "segment"], "got 'letter'; choose from segment, word"),
        ("include[]", ["tokens", "logprobs"], "got 'tokens'; choose from logprobs"),
    ],
)
def test_all_values_of_a_repeated_field_are_checked(live: Live, name, values, message):
    error = refusal(live.post(SPEECH, language="de", **{name: values}), 400)
    assert error["message"].startswith(f"{name}: {message}") and error["param"] == name


def test_equal_values_may_be_repeated(live: Live):
    twice = {"timestamp_granularities[]": ["segment", "segment"], "include[]": ["logprobs", "logprobs"]}
    assert live.post(SPEECH, language="de", **twice).json()["logprobs"]


def test_other_fields_may_not_be_repeated(live: Live):
    error = refusal(live.post(b"no audio", language=["de", "es"]), 400)
    assert error["message"] == "language: got 2 values, wanted one"
    assert error["param"] == "language" and error["code"] == "repeated_parameter"
    files = [("file", (None, "text")), ("file", ("a.wav", SPEECH))]
    error = refusal(live.client.post("/v1/audio/transcriptions", files=files), 400)
    assert error["message"] == "file: got 2 values, wanted one"


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3", "AIFF"])
def test_all_formats_of_libsndfile_are_accepted(live: Live, kind):
    response = live.post(recording(kind=kind, rate=44_100), f"a.{kind.lower()}", response_format="verbose_json")
    assert response.json()["duration"] == pytest.approx(1.5, abs=0.06)


def test_silence_has_a_note_and_no_language(live: Live):
    answer = live.post(SILENCE, response_format="verbose_json").json()
    assert answer["text"] == answer["language"] == answer["zipperasr"]["language_code"] == ""
    assert answer["segments"][0]["note"].startswith("silence")
    assert live.post(SILENCE, response_format="srt").text == ""


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        (
            {"language": "dee"},
            "language",
            "language 'dee' is not one of the model's; did you mean 'de'? choose from de",
        ),
        ({"response_format": "xml"}, "response_format", "got 'xml'; choose from json, text, srt, verbose_json, vtt"),
        ({"stream": "yes"}, "stream", "stream: got 'yes'; choose from true, false"),
        (
            {"stream": "true", "response_format": "srt"},
            "stream",
            "stream: events need response_format json, got 'srt'",
        ),
        ({"langauge": "de"}, "langauge", "unknown field 'langauge'; did you mean 'language'?"),
    ],
)
def test_unsupported_values_are_rejected_with_the_supported_ones(live: Live, fields, param, message):
    error = refusal(live.post(SPEECH, **fields), 400)
    assert message in error["message"]
    assert error["param"] == param


def test_another_model_is_not_found(live: Live):
    error = refusal(live.post(SPEECH, model="whisper-1"), 404)
    assert error["code"] == "model_not_found"
    assert error["message"] == f"model 'whisper-1' is not loaded; the loaded model is '{NAME}'"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "speech.wav: cannot be decoded"),
        (b"no audio at all", "speech.wav: cannot be decoded (Format not recognised.); supported: .aif"),
        (as_file(np.zeros(0, dtype=np.float32)), "speech.wav: contains no samples"),
        (
            as_file(np.zeros((800, 8), dtype=np.int16), "FLAC", 655_350),
            "speech.wav: sampling rate 655350 Hz, wanted 1000 to 192000 Hz; resample it to 16000 Hz",
        ),
        (
            as_file(np.zeros((800, 9), dtype=np.float32)),
            "speech.wav: 9 channels, at most 8 are read; mix it down to mono",
        ),
        (as_file(np.full(800, np.nan, dtype=np.float32), subtype="FLOAT"), "speech.wav: samples that are not a number"),
        (
            as_file(np.full(800, -1e18, dtype=np.float32), subtype="FLOAT"),
            "speech.wav: a sample of 1e+18 times full scale, at most 1e+10 are read; check how it was written",
        ),
    ],
)
def test_unusable_audio_is_rejected_with_a_reason(live: Live, data, message):
    error = refusal(live.post(data), 400)
    assert message in error["message"]
    assert error["param"] == "file" and error["code"] == "undecodable_audio"


def test_what_is_not_a_number_is_in_no_answer(live: Live, monkeypatch):
    """As if such samples were not refused."""
    monkeypatch.setattr(load, "LOUDEST", np.inf)
    data = as_file(np.tile(np.array([1e22, -1e22], dtype=np.float32), 8000), subtype="FLOAT")
    (segment,) = live.post(data, language="de", response_format="verbose_json").json()["segments"]
    assert segment["note"] == "cut off after 0 tokens: the model's output is not a number"
    assert (segment["text"], segment["words"], segment["avg_logprob"]) == ("", [], None)
    assert live.post(data, language="de", **{"include[]": "logprobs"}).json()["logprobs"] == []
    assert live.post(data, response_format="verbose_json").status_code == 500  # detecting the language fails
    assert live.post(SPEECH, language="de").status_code == 200


def test_a_recording_that_is_too_long_is_rejected(live: Live):
    error = refusal(live.post(recording(21, "OGG"), "long.ogg"), 413)
    assert error["message"] == "long.ogg: longer than 20 s; split the recording"


def test_a_recording_that_is_too_long_by_its_header_is_not_decoded(live: Live, monkeypatch):
    monkeypatch.setattr(upload, "decoded_blocks", lambda *_: pytest.fail("it was decoded"))
    silence = as_file(np.zeros(22 * 8000, dtype=np.int16), "FLAC", 8000)
    assert refusal(live.post(silence), 413)["message"] == "speech.wav: longer than 20 s; split the recording"


@pytest.mark.parametrize("size", [2**20 + 1, 5 * 2**20])
def test_a_file_that_is_too_large_is_rejected(live: Live, size):
    error = refusal(live.post(bytes(size)), 413)
    assert error["code"] == "file_too_large"
    assert error["message"] == "file: larger than 1 MB; send flac or mp3, or split the recording"


def test_a_file_of_the_maximum_size_is_accepted(live: Live):
    assert refusal(live.post(bytes(2**20)), 400)["code"] == "undecodable_audio"


def test_an_upload_of_unknown_size_is_rejected_before_its_end(live: Live):
    head = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + bytes(2 * 2**20)
    with socket.create_connection(("127.0.0.1", live.port), WAIT_S) as client:
        client.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n{len(part):x}\r\n".encode() + part)
        assert client.recv(12) == b"HTTP/1.1 413"  # although the last chunk was never sent


def test_a_request_without_a_file_is_an_error(live: Live):
    path = "/v1/audio/transcriptions"
    assert "wanted a multipart/form-data request" in refusal(live.client.post(path, json={}), 400)["message"]
    fields = {"file": (None, "text instead of a file")}
    assert refusal(live.client.post(path, files=fields), 400)["code"] == "missing_file"
    two = [("file", ("a.wav", SPEECH)), ("file", ("b.wav", SPEECH))]
    assert "Too many files" in refusal(live.client.post(path, files=two), 400)["message"]
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    torn = refusal(live.client.post(path, content=b"--y\r\n", headers=form), 400)
    assert torn["message"].startswith("the form cannot be read")


@pytest.mark.parametrize(
    ("type_", "status"),
    [
        ("Multipart/Form-Data; Boundary=x", 200),
        ("MULTIPART/FORM-DATA; charset=UTF-8; boundary=x", 200),
        ('multipart/form-data ; charset=us-ascii;boundary="x"', 200),
        ("multipart/form-data-x; boundary=x", 400),
        ("multipart/mixed; boundary=x", 400),
    ],
)
def test_the_content_type_is_not_case_sensitive(live: Live, type_, status):
    response = live.client.post("/v1/audio/transcriptions", content=form(SPEECH), headers={"Content-Type": type_})
    assert response.status_code == status, response.text


@pytest.mark.parametrize("charset", ["punycode", "idna", "utf-16", "undefined", "zlib", "nothing", "\xe9"])
def test_an_unsupported_charset_is_an_error(live: Live, charset):
    header = f"multipart/form-data; boundary=x; charset={charset}".encode("latin-1")
    odd = 'Content-Disposition: form-data; name="language"\r\n\r\n\xff\xfe-\r\n--x\r\n'.encode("latin-1")
    headers = [(b"Content-Type", header)]
    error = refusal(live.client.post("/v1/audio/transcriptions", content=form(SPEECH, odd), headers=headers), 400)
    wanted = f"Content-Type: got charset {charset!r}, wanted utf-8; send the form's text in UTF-8"
    assert error["message"] == wanted


def test_no_message_is_longer_than_500_characters(live: Live):
    long = "x" * 10_000
    for response in (live.client.get(f"/{long}"), live.post(SPEECH, language=long), live.post(b"", f"{long}.wav")):
        assert len(response.json()["error"]["message"]) <= 500


def test_models_and_health(live: Live):
    (model,) = live.client.get("/v1/models").json()["data"]
    assert model["id"] == NAME and model["object"] == "model"
    assert live.client.get(f"/v1/models/{NAME}").json() == model
    assert refusal(live.client.get("/v1/models/gpt"), 404)["code"] == "model_not_found"
    load = {"requests": 0, "running": 0, "waiting": 0, "rows": 16, "rows_in_use": 0}
    assert live.client.get("/health").json() == {"status": "ok", "model": NAME, **load}


def test_health_is_503_while_the_model_fails(live: Live, monkeypatch):
    monkeypatch.setattr(live.service.live._failures, "count", MANY_FAILURES)
    response = live.client.get("/health")
    assert (response.status_code, response.json()["status"]) == (503, "failing")
    assert live.post(SPEECH, language="de").status_code == 200
    assert live.client.get("/health").json()["status"] == "ok"


def test_errors_for_other_paths_and_methods_list_the_supported_ones(live: Live):
    assert "not found; served are POST /v1/audio/transcriptions" in refusal(live.client.get("/v1/chat"), 404)["message"]
    response = live.client.get("/v1/audio/transcriptions")
    assert refusal(response, 405)["message"].startswith("GET /v1/audio/transcriptions: method not allowed")
    assert response.headers["allow"] == "POST"


def test_an_unexpected_exception_is_reported_without_details(live: Live, monkeypatch):
    def broken(*_):
        raise RuntimeError("a secret")

    monkeypatch.setattr(live.service.live, "submit", broken)
    error = refusal(live.post(SPEECH), 500)
    assert error["message"] == "internal error (RuntimeError); see the server's log"


def test_a_model_without_a_language_detector_needs_the_language(model_dir, monkeypatch, capsys):
    monkeypatch.setattr(backbones, "LANGUAGE_SOURCES", {})
    with running(Service(Transcriber.from_pretrained(model_dir, "cpu"), NAME, Limits(max_mb=1, max_s=20))) as live:
        assert "languages cannot be detected, requests have to name one: " in capsys.readouterr().err
        error = refusal(live.post(SPEECH), 400)
        assert error["message"].startswith("this model cannot detect languages; set language to one of de, es, ja")
        assert live.post(SPEECH, language="de").status_code == 200
