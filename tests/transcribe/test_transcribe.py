from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import soundfile

from tests.transcribe.sound import RATE, noise
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.__main__ import main
from zipperasr.transcribe.defaults import DEFAULTS
from zipperasr.transcribe.formats import FORMATS


@pytest.fixture
def folder(tmp_path):
    """Two recordings and, between them, a file that is not audio."""
    audio = tmp_path / "audio"
    audio.mkdir()
    soundfile.write(audio / "a.wav", noise(0.6, 1), RATE)
    (audio / "b.wav").write_bytes(b"no audio")
    soundfile.write(audio / "c.flac", noise(0.8, 2), RATE)
    return audio


def test_texts_have_file_names_only_for_several_files(trained, folder, capsys):
    assert main([str(folder / "a.wav"), "--model", str(trained), "--lang", "de"]) == 0
    alone = capsys.readouterr().out
    assert main([str(folder / "a.wav"), str(folder / "c.flac"), "--model", str(trained), "--lang", "de"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{folder / 'a.wav'} {alone.strip()}"
    assert second.startswith(f"{folder / 'c.flac'} ")


def test_hints_are_read_from_a_file_and_have_a_weight(trained, folder, tmp_path, capsys):
    without_aligner = shutil.copytree(trained, tmp_path / "sft", ignore=shutil.ignore_patterns("aligner*"))
    hints = tmp_path / "hints.txt"
    hints.write_text("zipper\n", encoding="utf-8")
    call = [str(folder / "a.wav"), "--model", str(without_aligner), "--lang", "de"]
    texts = []
    for options in ([], ["--hint_weight", "0.001"], ["--hint_weight", "1000"]):
        assert main([*call, *(["--hints", str(hints), *options] if options else [])]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and "zipper" not in texts[0]
    assert "zipper" in texts[2]
    hints.write_text("zipper\tmuch\n", encoding="utf-8")
    assert main([*call, "--hints", str(hints)]) == 1
    assert "hints.txt:1: got 'zipper\\tmuch'" in capsys.readouterr().err


def test_alternatives_are_written_as_json(trained, folder, capsys):
    call = [str(folder / "a.wav"), "--model", str(trained), "--lang", "de", "--tokens_per_s", "4", "--format", "json"]
    assert main([*call, "--beam", "3", "--nbest", "2"]) == 0
    (segment,) = json.loads(capsys.readouterr().out)["segments"]
    config = replace(DEFAULTS, beam=3, nbest=2, tokens_per_s=4.0)
    (wanted,) = Transcriber.from_pretrained(trained, "cpu", config)(folder / "a.wav", lang="de").segments
    assert segment["alternatives"] == [one._asdict() for one in wanted.alternatives]
    assert len(wanted.alternatives) == 2 and wanted.alternatives[0].text == segment["text"]
    assert main([*call, "--beam", "3"]) == 0
    assert "alternatives" not in json.loads(capsys.readouterr().out)["segments"][0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--nbest", "2", "--format", "json"], "nbest: got 2, wanted at most beam, 1; set beam=2"),
        (["--beam", "2", "--nbest", "2"], "--nbest 2 needs --format json; txt has one text"),
        (["--beam", "0"], "beam: got 0, wanted at least 1"),
    ],
)
def test_lists_that_cannot_be_written_are_an_error(trained, folder, capsys, more, message):
    assert main([str(folder / "a.wav"), "--model", str(trained), "--lang", "de", *more]) == 1
    assert message in capsys.readouterr().err


def test_a_corrupt_file_is_reported_and_the_others_are_transcribed(trained, folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(folder), "--model", str(trained), "--lang", "auto", "--format", "json", "--out", str(out)]) == 1
    assert sorted(path.name for path in out.iterdir()) == ["a.json", "c.json"]
    assert json.loads((out / "a.json").read_text("utf-8"))["lang"] in ("de", "es", "ja")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "b.wav: cannot be decoded" in captured.err
    assert "1 of 3 recordings could not be transcribed" in captured.err
    assert "language detection: Whisper needs another" in captured.err


def test_raw_samples_in_a_folder_are_reported_and_the_others_are_transcribed(trained, folder, tmp_path, capsys):
    (folder / "b.wav").rename(folder / "b.raw")
    out = tmp_path / "out"
    assert main([str(folder), "--model", str(trained), "--lang", "de", "--out", str(out)]) == 1
    assert sorted(path.name for path in out.iterdir()) == ["a.txt", "c.txt"]
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 2 and "b.raw: raw samples without a header" in lines[0]
    assert "1 of 3 recordings could not be transcribed" in lines[1]


def test_two_recordings_with_the_same_name_are_an_error(trained, folder, tmp_path, capsys):
    soundfile.write(folder / "a.flac", noise(0.6), RATE)
    assert main([str(folder), "--model", str(trained), "--out", str(tmp_path / "out")]) == 1
    assert "the transcript of another recording is a.txt; rename one of them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--lang", "fr"], "language 'fr' is not one of the model's"),
        (["--model", "nowhere"], "nowhere/config.yaml: no finished training here"),
    ],
)
def test_wrong_options_are_reported_in_one_line(trained, folder, capsys, more, message):
    assert main([str(folder / "a.wav"), "--model", str(trained), *more]) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


@pytest.mark.parametrize("name", FORMATS)
def test_real_recordings_in_every_format(trained, shared_dir, tmp_path, capsys, name):
    """One recording per available codec and rate: wav at 16 kHz, flac, mp3 at 48 kHz, opus."""
    found = {}
    for file in sorted((shared_dir / "fixtures" / "real_speech").rglob("*")):
        if file.suffix in (".wav", ".flac", ".mp3", ".opus"):
            found.setdefault(file.suffix, str(file))
    assert len(found) >= 3
    out = tmp_path / "out"
    options = ["--model", str(trained), "--lang", "auto", "--format", name, "--out", str(out), "--tokens_per_s", "2"]
    assert main([*found.values(), *options]) == 0, capsys.readouterr().err
    written = sorted(out.iterdir())
    assert len(written) == len(found)
    for path in written:
        text = path.read_text(encoding="utf-8")
        if name == "json":
            assert json.loads(text)["segments"]
        elif name == "vtt":
            assert text.startswith("WEBVTT\n")
        elif name == "trn":
            assert text.rstrip().endswith(")")
