"""`zipperasr serve --vad` selects the voice detector of every request."""

from __future__ import annotations

import threading

import httpx
import pytest
import uvicorn

from tests.serve.live import WAIT_S, as_file
from tests.transcribe.sound import noise
from zipperasr.serve.__main__ import main


@pytest.mark.parametrize(("options", "has_text"), [(["--vad", "silero"], False), ([], True)])
def test_noise_has_no_text_with_the_voice_detector(model_dir, monkeypatch, options, has_text):
    serve, answers = uvicorn.Server.run, []

    def serve_one(server, sockets):
        thread = threading.Thread(target=serve, args=(server, sockets), daemon=True)
        thread.start()
        port, files = sockets[0].getsockname()[1], {"file": ("noise.wav", as_file(noise(2.0)))}
        url = f"http://127.0.0.1:{port}/v1/audio/transcriptions"  # the socket listens: the request waits for the server
        answers.append(httpx.post(url, files=files, data={"language": "de"}, timeout=WAIT_S))
        server.should_exit = True
        thread.join(WAIT_S)

    monkeypatch.setattr(uvicorn.Server, "run", serve_one)
    assert main(["--model", str(model_dir), "--port", "0", *options]) == 0
    assert answers[0].status_code == 200 and bool(answers[0].json()["text"]) == has_text
