"""The clock of RTFx counts the transcription alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.corpora.example import write_noise
from zipperasr.corpora.utterance import Utterance
from zipperasr.evaluate import timed
from zipperasr.evaluate.timed import TimedTranscription
from zipperasr.transcribe.transcript import Transcript

READING_S, TRANSCRIBING_S = 100.0, 3.0


class Clock:
    """A transcriber on whose clock reading a file takes READING_S, and transcribing one TRANSCRIBING_S."""

    def __init__(self):
        self.now_s = 0.0
        self.calls: list[list[str]] = []

    def transcribe(self, recordings, lang):
        self.calls.append([recording.id for recording in recordings])
        for recording in recordings:
            self.now_s += TRANSCRIBING_S
            found = Transcript(f"{lang} {recording.id}", lang, duration_s=len(recording.audio) / 16_000)
            yield recording, found if recording.audio.any() else ValueError("too quiet")


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock, read = Clock(), timed.read_excerpt

    def read_slowly(*arguments):
        clock.now_s += READING_S
        return read(*arguments)

    monkeypatch.setattr(timed, "read_excerpt", read_slowly)
    monkeypatch.setattr(timed.time, "perf_counter", lambda: clock.now_s)
    return clock


def utterances(directory: Path, num: int, seconds: float = 1.0) -> list[Utterance]:
    paths = [directory / f"{number}.wav" for number in range(num)]
    for path in paths:
        write_noise(path, seconds)
    return [Utterance(path.stem, "s", str(path), "text", "de") for path in paths]


def test_reading_and_warming_up_are_not_counted(tmp_path, clock):
    found = TimedTranscription(clock)(utterances(tmp_path, 4), "de")
    assert found.transcription_s == 4 * TRANSCRIBING_S
    assert found.audio_s == 4.0
    assert clock.now_s == 4 * READING_S + 8 * TRANSCRIBING_S  # four of them warmed up
    assert found.texts == {str(number): f"de {number}" for number in range(4)}


def test_only_the_first_block_warms_up(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(timed, "BLOCK_S", 2.0)
    monkeypatch.setattr(timed, "WARM_UP", 1)
    transcribe = TimedTranscription(clock)
    transcribe(utterances(tmp_path, 3), "de")
    transcribe(utterances(tmp_path, 1), "es")
    assert clock.calls == [["0"], ["0", "1"], ["2"], ["0"]]


def test_a_segment_of_a_recording_is_cut_out(tmp_path, clock):
    (whole,) = utterances(tmp_path, 1, seconds=2.0)
    found = TimedTranscription(clock)([whole._replace(start_s=0.5, end_s=1.25)], "de")
    assert found.audio_s == 0.75


def test_failures_are_named_and_not_counted(tmp_path, clock):
    good, corrupt, empty, silent = utterances(tmp_path, 4)
    Path(corrupt.audio).write_bytes(b"no audio")
    timed.soundfile.write(empty.audio, np.zeros(0), 16_000)
    timed.soundfile.write(silent.audio, np.zeros(16_000), 16_000)
    missing = good._replace(id="m", audio=str(tmp_path / "none.wav"))
    progress: list[int] = []
    found = TimedTranscription(clock, progress.append)([good, corrupt, empty, silent, missing], "de")
    assert list(found.texts) == ["0"] and found.audio_s == 1.0
    assert [reason.split(": ")[0] for reason in found.failures] == ["1", "2", "m", "3"]
    assert f"2: {empty.audio}: no samples" in found.failures
    assert "3: too quiet" in found.failures
    assert sum(progress) == 5
