"""Words have times inside their segment, whatever the batch, and texts are those without an aligner."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch

from tests.model import tiny
from tests.transcribe.conftest import SHORT
from tests.transcribe.sound import RATE, noise, silence, with_pauses
from tests.transcribe.transcripts import without_rounding
from zipperasr.align.aligner import Aligner
from zipperasr.exchange.export import main as export
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.__main__ import main
from zipperasr.transcribe.confidence import words_of
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.transcript import Segment, Word
from zipperasr.transcribe.word_times import with_times


@pytest.fixture(scope="module")
def timing(trained) -> Transcriber:
    return Transcriber.from_pretrained(trained, "cpu", SHORT, words=True)


def test_words_are_those_of_the_text_with_times_inside_the_segment(timing, transcriber):
    samples = with_pauses([12.0, 14.0, 3.0])
    found, plain = timing(samples, lang="de"), transcriber(samples, lang="de")
    assert found.text == plain.text
    assert all(word.start_s is None for part in plain.segments for word in part.words)
    assert sum(len(part.words) for part in found.segments) >= 2
    for part in found.segments:
        assert [word.text for word in part.words] == part.text.split()
        times = [time for word in part.words for time in (word.start_s, word.end_s)]
        assert all(part.start_s <= first <= second <= part.end_s for first, second in pairwise(times))


def test_times_do_not_depend_on_other_recordings(timing):
    some = [Recording(f"r{number}", noise(0.6 + 0.3 * number, number)) for number in range(5)]
    together = {recording.id: transcript for recording, transcript in timing.transcribe(some, "ja")}
    for recording in some:
        assert without_rounding(timing(recording.audio, lang="ja")) == without_rounding(together[recording.id])


def test_silence_has_no_words(timing):
    assert timing(silence(1), lang="de").segments[0].words == ()


def test_words_of_languages_scored_by_characters_are_characters():
    assert [word.text for word in words_of("a b, c", [], "wer")] == ["a", "b,", "c"]
    assert [word.text for word in words_of("ที่ 好", [], "cer")] == ["ที่", "好"]


def test_a_text_with_more_characters_than_frames_has_no_times(trained):
    segment = Segment(1.0, 1.1, "abcdefgh", words=(Word("abcdefgh"),))
    found = with_times(segment, torch.randn(5, tiny.D_ENCODER), Aligner.load(trained))
    assert found.words == (Word("abcdefgh"),)


def test_the_command_writes_words_in_every_format(trained, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", noise(1.5), RATE)
    call = [str(tmp_path / "a.wav"), "--model", str(trained), "--lang", "de", "--words", "--out", str(tmp_path / "out")]
    for form in ("json", "srt", "vtt", "ctm", "textgrid", "txt"):
        assert main([*call, "--format", form]) == 0
    (segment,) = json.loads((tmp_path / "out" / "a.json").read_text("utf-8"))["segments"]
    assert all(word["start_s"] <= word["end_s"] for word in segment["words"])
    lines = (tmp_path / "out" / "a.ctm").read_text("utf-8").splitlines()
    assert len(lines) == (tmp_path / "out" / "a.srt").read_text("utf-8").count(" --> ") > 0
    assert np.diff([float(line.split()[2]) for line in lines]).min(initial=0) >= 0


def test_formats_of_words_need_the_option(trained, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", noise(0.5), RATE)
    assert main([str(tmp_path / "a.wav"), "--model", str(trained), "--format", "ctm"]) == 1
    assert "--format ctm needs the times of words; add --words" in capsys.readouterr().err


def test_a_bundle_carries_the_aligner(timing, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert export(["--model", str(trained), "--format", "bundle", "--out", str(tmp_path / "model.zip")]) == 0
    opened = Transcriber.from_pretrained(tmp_path / "model.zip", "cpu", SHORT, words=True)
    assert opened(noise(1.0), lang="es") == timing(noise(1.0), lang="es")
