"""Words have times inside their segment, whatever the batch, and texts are those without an aligner."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.model import tiny
from tests.transcribe.conftest import SHORT
from tests.transcribe.sound import RATE, noise, silence, with_pauses
from zipperasr.align.aligner import WEIGHTS, Aligner
from zipperasr.exchange.export import main as export
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.__main__ import main
from zipperasr.transcribe.calibration import Calibration
from zipperasr.transcribe.sources import Recording
from zipperasr.transcribe.transcript import Segment, Transcript, Word
from zipperasr.transcribe.word_times import with_times


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


def times(transcript: Transcript) -> list[tuple[str, float | None, float | None]]:
    return [(word.text, word.start_s, word.end_s) for part in transcript.segments for word in part.words]


def test_times_do_not_depend_on_other_recordings(timing):
    some = [Recording(f"r{number}", noise(0.6 + 0.3 * number, number)) for number in range(5)]
    together = {recording.id: transcript for recording, transcript in timing.transcribe(some, "es")}
    assert any(start_s is not None for transcript in together.values() for _, start_s, _ in times(transcript))
    for recording in some:
        assert times(timing(recording.audio, lang="es")) == times(together[recording.id])


def test_silence_has_no_words(timing):
    assert timing(silence(1), lang="de").segments[0].words == ()


def test_a_text_with_more_characters_than_frames_has_no_times(trained):
    segment = Segment(1.0, 1.1, "abcdefgh", words=(Word("abcdefgh", 0.5),))
    assert with_times(segment, torch.randn(5, tiny.D_ENCODER), Aligner.load(trained)) == segment


def test_times_leave_confidences_as_they_are(trained):
    segment = Segment(1.0, 1.5, "ab cd", words=(Word("ab", 0.5), Word("cd", 0.25)))
    found = with_times(segment, torch.randn(25, tiny.D_ENCODER), Aligner.load(trained))
    assert [word.confidence for word in found.words] == [0.5, 0.25]


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


@pytest.fixture
def own(trained, tmp_path) -> Path:
    """A copy of the training."""
    return Path(shutil.copytree(trained, tmp_path / "own"))


def retrain(directory: Path) -> str:
    """Change the model's weights. Returns what is said about its aligner."""
    path = directory / "model.safetensors"
    with safe_open(path, "pt") as weights:
        metadata = weights.metadata()
    save_file({name: tensor * 1.01 for name, tensor in load_file(path).items()}, path, metadata)
    return "retrained after its aligner; run `zipperasr train-aligner` again"


def widen(directory: Path) -> str:
    """Replace the aligner by one of another width. Returns what is said about it."""
    config = Aligner.load(directory).config
    Aligner(replace(config, width=config.width + 1)).save(directory)
    return f"aligner.yaml: width: got {config.width + 1}, wanted the encoder's, {config.width}"


@pytest.mark.parametrize("change", [retrain, widen])
def test_an_aligner_that_does_not_fit_is_an_error_only_if_words_are_wanted(own, change, capsys):
    message = change(own)
    with pytest.raises(ValueError, match=message):
        Transcriber.from_pretrained(own, "cpu", SHORT, words=True)
    assert message not in capsys.readouterr().err
    assert Transcriber.from_pretrained(own, "cpu", SHORT, words=None).aligner is None
    warning = capsys.readouterr().err
    assert message in warning and "; it is not used" in warning


@pytest.mark.parametrize("damaged", [False, True])
def test_a_bundle_has_no_aligner_and_no_calibration_that_cannot_be_used(own, tmp_path, monkeypatch, capsys, damaged):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Calibration(0.7, -0.2).save(own)
    if damaged:
        (own / WEIGHTS).write_bytes(b"half a file")
        (own / "confidence.json").write_text("{")
    else:
        retrain(own)
    assert export(["--model", str(own), "--format", "bundle", "--out", str(tmp_path / "m.zip")]) == 0
    said = capsys.readouterr().err
    assert said.count("; the bundle is written without it") == 2 and "confidence.json: damaged, or fitted with" in said
    with ZipFile(tmp_path / "m.zip") as bundle:
        assert not {"confidence.json", "aligner.yaml", WEIGHTS} & {Path(name).name for name in bundle.namelist()}
    assert Transcriber.from_pretrained(tmp_path / "m.zip", "cpu", SHORT, words=None).aligner is None


def test_a_bundle_carries_the_aligner(timing, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert export(["--model", str(trained), "--format", "bundle", "--out", str(tmp_path / "model.zip")]) == 0
    opened = Transcriber.from_pretrained(tmp_path / "model.zip", "cpu", SHORT, words=True)
    assert opened.aligner.config == timing.aligner.config
    assert times(opened(noise(1.0), lang="es")) == times(timing(noise(1.0), lang="es"))
