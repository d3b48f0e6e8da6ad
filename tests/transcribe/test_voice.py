"""With the voice detector only speech is transcribed, and its times are those of the recording."""

from __future__ import annotations

import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.transcribe.conftest import SHORT
from tests.transcribe.sound import RATE, noise, silence, speech, tones
from zipperasr.audio.loudness import FRAME
from zipperasr.transcribe import Transcriber, voice_silero
from zipperasr.transcribe.__main__ import main
from zipperasr.transcribe.pauses import Piece, cut_at_pauses
from zipperasr.transcribe.stream_endpoints import HOP
from zipperasr.transcribe.voice import keep_voiced, load_detector, voiced_spans
from zipperasr.transcribe.voice_silero import CONTEXT, WINDOW, Silero


@pytest.fixture(scope="module")
def silero() -> Silero:
    return load_detector("silero")


@pytest.fixture(scope="module")
def detecting(transcriber) -> Transcriber:
    return Transcriber(transcriber.opened, SHORT, vad="silero")


def hum(seconds: float, level: float = 0.2) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return (level * sum(np.sin(2 * np.pi * 50 * k * time) / k for k in range(1, 12))).astype(np.float32)


@pytest.mark.parametrize("sound", [noise(6), noise(6, level=0.005), tones(6), hum(6), hum(6, 0.01)])
def test_noise_tones_and_hum_give_no_text_and_a_note(detecting, sound):
    transcript = detecting(sound, lang="de")
    assert transcript.text == "" and transcript.notes == ["0.0 to 6.0 s: no voice"]
    assert transcript.duration_s == 6


def test_times_are_those_of_the_recording_and_follow_the_speech(detecting, transcriber):
    spoken = speech()
    samples = np.concatenate([noise(4), spoken, noise(5, 2), spoken, noise(3, 3)])
    transcript = detecting(samples, lang="de")
    starts = (4.0, 9.0 + len(spoken) / RATE)
    voiced = [part for part in transcript.segments if part.text]
    assert len(voiced) == 2 and transcript.duration_s == len(samples) / RATE
    for part, start_s in zip(voiced, starts, strict=True):
        assert (part.start_s, part.end_s) == pytest.approx((start_s, start_s + len(spoken) / RATE), abs=1.0)
        piece = samples[round(part.start_s * RATE) : round(part.end_s * RATE)]
        assert transcriber(piece, lang="de").text == part.text


@pytest.mark.parametrize("language", ["ar", "de", "en", "fr", "it", "ja", "ko", "pt", "ru", "es", "th", "vi", "zh"])
def test_speech_of_every_mini_language_is_detected(silero, language):
    words = {"ar": "مرحبا كيف حالك", "ja": "おはようございます", "ko": "안녕하세요", "ru": "доброе утро",
             "th": "สวัสดีตอนเช้า", "zh": "早上好你好吗"}.get(language, "madrid lisboa berlin roma")  # fmt: skip
    assert silero(speech(language, words)).mean() > 0.6


def test_a_stream_gives_the_frames_of_the_whole_recording(silero):
    samples = np.concatenate([silence(0.5), speech(), noise(1), speech()])
    whole, stream = silero(samples), silero.stream()
    samples = samples[: len(samples) // HOP * HOP]
    parts = [stream(part) for part in np.split(samples, len(samples) // HOP)]
    assert np.array_equal(np.concatenate(parts), whole[: len(samples) // FRAME])
    assert len(silero(samples[: HOP + 1])) == HOP // FRAME + 1
    assert not silero(noise(0)).size


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*:DeprecationWarning")
def test_probabilities_resemble_those_of_the_packages_own_torchscript_model(silero):
    """Not exactly: its safetensors are from another training than its TorchScript."""
    path = Path(find_spec("silero_vad").submodule_search_locations[0])
    published = torch.jit.load(path / "data" / "silero_vad.jit").eval()
    samples = np.concatenate([speech(), noise(1, level=0.01), speech("en", "good morning everybody"), silence(1)])
    samples = torch.from_numpy(samples[: len(samples) // WINDOW * WINDOW])
    with torch.inference_mode():
        published.reset_states()
        expected = published.audio_forward(samples[None], RATE)[0]
        windows = torch.cat([torch.zeros(CONTEXT), samples]).unfold(0, CONTEXT + WINDOW, WINDOW)
        found, _ = silero._net(windows, None)
    assert (found - expected).abs().mean() < 0.1
    assert ((found > 0.5) == (expected > 0.5)).float().mean() > 0.93


def test_loading_the_detector_leaves_the_number_of_threads_unchanged():
    before = torch.get_num_threads(), threading.active_count()
    load_detector("silero")
    assert (torch.get_num_threads(), threading.active_count()) == before
    assert "silero_vad" not in sys.modules


def test_long_gaps_without_voice_are_left_out_and_short_ones_kept_also_at_the_edges():
    frames = np.zeros(900, dtype=bool)
    for first, last in ((110, 150), (240, 300), (500, 600), (690, 695), (720, 810)):
        frames[first:last] = True
    spans = voiced_spans(frames, 900 * FRAME)
    assert [(span.start / RATE, span.stop / RATE) for span in spans] == [(1.7, 6.5), (9.5, 12.5), (13.9, 18.0)]
    assert voiced_spans(frames[:100], 100 * FRAME) == []


def test_a_piece_with_a_reason_is_kept():
    piece = Piece(1.0, silence(2), "silence")
    assert keep_voiced(piece, lambda samples: np.ones(100, dtype=bool)) == [piece]


def test_music_between_utterances_is_a_pause(silero):
    samples = np.concatenate([speech(), tones(2), speech(), tones(2), speech()])
    with_voice = list(cut_at_pauses([samples], 8.0, silero))
    assert np.array_equal(np.concatenate([piece.samples for piece in with_voice]), samples)
    assert len(with_voice) >= 2
    for piece in with_voice[:-1]:
        cut = int(piece.end_s * RATE)
        assert not silero(samples)[cut // FRAME]


def test_the_command_logs_its_detector(trained, tmp_path, capsys):
    soundfile.write(tmp_path / "noise.wav", noise(2), RATE)
    command = [str(tmp_path / "noise.wav"), "--model", str(trained), "--lang", "de"]
    assert main([*command, "--vad", "silero"]) == 0
    found = capsys.readouterr()
    assert found.out == "\n" and "voice detector: silero" in found.err and "no voice" in found.err
    assert main(command) == 0
    without = capsys.readouterr()
    assert without.out.strip() and "voice detector: energy" in without.err


def test_missing_and_unknown_detectors_are_reported(monkeypatch):
    with pytest.raises(ValueError, match=r"unknown voice detector 'webrtc'; .*choose from energy, silero"):
        load_detector("webrtc")
    monkeypatch.setattr(voice_silero, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"silero is not installed; pip install -e '.\[vad\]'"):
        load_detector("silero")
