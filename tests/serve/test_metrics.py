"""GET /metrics, request ids, and the line in the log for each request."""

from __future__ import annotations

import re
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serve.live import NAME, WAIT_S, Live, recording, request, running
from tests.serve.test_model_queue import gated, wait_for_requests
from zipperasr.serve.limits import Limits
from zipperasr.serve.service import Service

SPEECH = recording(1.5)


def samples(live: Live) -> dict[str, float]:
    """All samples; labels are part of the name."""
    text = live.client.get("/metrics").text
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_requests_audio_and_time(transcriber):
    with running(Service(transcriber, NAME, Limits())) as live:
        assert live.client.get("/metrics").headers["content-type"].startswith("text/plain; version=")
        before = samples(live)
        for _ in range(2):
            assert live.post(SPEECH, language="de").status_code == 200
        assert live.post(b"no audio").status_code == 400
        after = samples(live)
    assert after["zipperasr_requests_total[200]"] == 2 and after["zipperasr_requests_total[400]"] == 1
    assert after["zipperasr_audio_seconds_total"] == 3.0
    assert after["zipperasr_request_seconds_count"] == 3 and after["zipperasr_waited_seconds_count"] == 2
    assert after["zipperasr_compute_seconds_total"] > before["zipperasr_compute_seconds_total"]
    assert after["zipperasr_request_seconds_sum"] > after["zipperasr_waited_seconds_sum"] > 0


def test_metrics_show_the_load_of_the_model(transcriber):
    service = gated(transcriber, max_running=1)
    with running(service) as live, socket.create_connection(("127.0.0.1", live.port)) as client:
        client.sendall(request(SPEECH))
        assert service.reached.wait(WAIT_S)
        found = samples(live)
        assert found["zipperasr_requests_running"] == found["zipperasr_rows_in_use"] == 1
        assert found["zipperasr_requests_waiting"] == 0 and found["zipperasr_rows"] == 16
        client.close()
        wait_for_requests(live, 0)
        service.gate.set()


@pytest.mark.parametrize("wanted", ["abc-123", "A_b.c:d/e+f=@", "x" * 128])
def test_a_valid_request_id_is_returned(live: Live, wanted):
    for path in ("/health", "/nothing", "/v1/audio/transcriptions"):
        assert live.client.get(path, headers={"X-Request-Id": wanted}).headers["x-request-id"] == wanted


@pytest.mark.parametrize("wanted", ["", "x" * 129, "a b", 'a"', "id=1\tstatus=200", "\xe9".encode("latin-1")])
def test_an_invalid_request_id_is_replaced(live: Live, wanted):
    found = live.client.get("/health", headers={"X-Request-Id": wanted}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", found)


def test_every_transcription_request_is_one_line_in_the_log(live: Live, capsys):
    capsys.readouterr()
    files = {"file": ("a.wav", SPEECH)}
    path, headers = "/v1/audio/transcriptions", {"X-Request-Id": "mine"}
    live.client.post(path, files=files, data={"language": "de"}, headers=headers)
    live.client.post(path, files={"file": ("a.wav", b"")}, headers=headers)
    live.client.get("/health", headers=headers)
    done, refused = (line.split(" ", 2)[2] for line in capsys.readouterr().err.splitlines() if "id=mine" in line)
    number = r"\d+\.\d{3}"
    assert re.fullmatch(
        rf"request id=mine status=200 audio_s=1.50 language=de waited_s={number} total_s={number}", done
    )
    assert re.fullmatch(rf"request id=mine status=400 total_s={number}", refused)


def test_an_unexpected_exception_is_in_the_log_with_its_id(live: Live, capsys, monkeypatch):
    monkeypatch.setattr(live.service.live, "submit", lambda *_: 1 / 0)
    response = live.client.post(
        "/v1/audio/transcriptions", files={"file": ("a.wav", SPEECH)}, headers={"X-Request-Id": "mine"}
    )
    assert response.status_code == 500 and response.headers["x-request-id"] == "mine"
    assert "request id=mine status=500 total_s=" in capsys.readouterr().err
