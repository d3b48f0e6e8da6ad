"""`zipperasr data check`: what it prints of good and of flawed lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.corpora.example import write_noise, write_text
from tests.corpora.own_data_example import EMBEDDED, WRITERS, write_audio
from tests.model import tiny
from zipperasr.own_data.check import main
from zipperasr.own_data.survey import recognise


def write_list(path: Path, *lines: dict | str) -> Path:
    return write_text(path, *(line if isinstance(line, str) else json.dumps(line) for line in lines))


@pytest.mark.parametrize("name", WRITERS | EMBEDDED)
def test_every_format_is_recognised_and_counted(tmp_path: Path, name: str, capsys: pytest.CaptureFixture):
    write_audio(tmp_path)
    reader, write = (WRITERS | EMBEDDED)[name]
    path = write(tmp_path, "train")
    path = path.parent if name == "kaldi" else path

    assert main(["check", str(path)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path} ({reader})"
    assert [line.split()[:3] for line in lines[2:4]] == [["de", "2", "0.00"], ["es", "1", "0.00"]]
    assert "16000 Hz: 1" in lines[4] and "8000 Hz: 1" in lines[4] and "44100 Hz: 1" in lines[4]
    assert len(lines) == 6, lines


def test_every_flaw_is_counted_with_its_effect(tmp_path: Path, capsys: pytest.CaptureFixture):
    for number in range(3):
        write_noise(tmp_path / f"{number}.wav", seconds=1.0 + number, seed=number)
    write_noise(tmp_path / "long.wav", seconds=31.0, rate=8000)
    write_text(tmp_path / "text.wav", "no audio")
    path = write_list(
        tmp_path / "train.jsonl",
        {"audio": "0.wav", "text": "hallo", "lang": "de"},
        {"audio": "1.wav", "text": "hallo", "lang": "de"},
        {"audio": "2.wav", "text": " ", "lang": "de"},
        {"audio": "text.wav", "text": "x", "lang": "de"},
        {"audio": "missing.wav", "text": "y", "lang": "de"},
        {"audio": "long.wav", "text": "w", "lang": "de"},
        {"audio": "1.wav", "text": "z", "lang": "de", "id": "again"},
        {"audio": "0.wav", "text": "hallo", "lang": "de"},
        {"audio": "0.wav", "text": "hallo"},
        "{",
    )

    assert main(["check", str(path)]) == 1

    printed = capsys.readouterr()
    for line in (
        "2 cannot be used (stage 1 stops): ",
        f"1 repeat an id (stage 1 stops): {tmp_path.name}_0",
        f"1 have no audio file (dropped by stage 1): {tmp_path.name}_missing ({tmp_path.resolve()}/missing.wav)",
        f"1 have no text (dropped by stage 1): {tmp_path.name}_2",
        f"1 have audio that cannot be read (dropped by stage 2): {tmp_path.name}_text",
        f"2 have the same recording and times as another (kept): again, {tmp_path.name}_0",
        f"1 are not 0.1 to 30 s long (dropped by stage 2, from training data): {tmp_path.name}_long (31.0 s)",
        f"2 have the same text as another (kept): {tmp_path.name}_1",
    ):
        assert line in printed.out
    assert (
        "no language; add a field `lang`, or give --lang CODE" in printed.out
        and "train.jsonl:10: not JSON" in printed.out
    )
    assert "error: 3 utterances cannot be used as they are" in printed.err


def test_a_language_for_all_and_a_model(tmp_path: Path, capsys: pytest.CaptureFixture):
    """The tiny tokenizer knows few characters, and a pack of 8 positions is short."""
    tiny.write_backbones(tmp_path / "backbones")
    model = write_text(
        tmp_path / "model.yaml",
        f"whisper: {tmp_path}/backbones/whisper",
        f"llm: {tmp_path}/backbones/llm",
        "max_positions: 8",
    )
    for number, seconds in enumerate((0.3, 5.0)):
        write_noise(tmp_path / f"{number}.wav", seconds)
    path = write_list(tmp_path / "x.jsonl", *({"audio": f"{number}.wav", "text": "ein ⟨x⟩"} for number in range(2)))

    assert main(["check", str(path), "--lang", "de", "--model", str(model)]) == 0

    printed = capsys.readouterr().out
    assert f"1 are longer than a pack (dropped by the training): {tmp_path.name}_1 (5.0 s)" in printed
    assert "not in the tokenizer of" in printed


@pytest.mark.parametrize("name", ["x.txt", "nothing.jsonl", "folder"])
def test_an_unknown_format_is_an_error(tmp_path: Path, name: str, capsys: pytest.CaptureFixture):
    write_text(tmp_path / "x.txt", "a")
    (tmp_path / "folder").mkdir()

    assert main(["check", str(tmp_path / name)]) == 1

    assert f"data check: error: {tmp_path / name}: " in capsys.readouterr().err


def test_a_damaged_first_line_is_left_to_the_reader(tmp_path: Path):
    assert recognise(write_text(tmp_path / "a.jsonl", "{")) == "jsonl"
