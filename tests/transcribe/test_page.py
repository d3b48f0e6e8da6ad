"""The blocks of docs/transcribe.md run unchanged, with a tiny model."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from types import SimpleNamespace

import kaldiio
import numpy as np
import pytest
import soundfile

from tests.transcribe.sound import RATE, noise
from tests.transcribe.test_stream import Microphone
from zipperasr.__main__ import main


@pytest.fixture
def workplace(trained, tmp_path, monkeypatch):
    """A directory with the file names that the page uses."""
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "sft_zipper_soft_chunked").symlink_to(trained)
    raw = tmp_path / "dump" / "raw" / "test_mls_de"
    for directory in (tmp_path / "recordings", raw):
        directory.mkdir(parents=True)
    soundfile.write(tmp_path / "speech.wav", noise(1.0), RATE)
    (tmp_path / "speech.raw").write_bytes((noise(1.0) * 32767).astype("<i2").tobytes())
    soundfile.write(tmp_path / "recordings" / "a.flac", noise(0.7), RATE)
    samples = (noise(0.5) * 32767).astype(np.int16)
    kaldiio.save_ark(str(raw / "x.ark"), {"utt1": (RATE, samples)}, scp=str(raw / "wav.scp"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, monkeypatch) -> None:
    """Run a command of the page; a file may be piped into it."""
    piped, _, call = line.rpartition(" | ")
    if piped:
        command, name = piped.split()
        assert command == "cat"
        with open(name, "rb") as stream:
            monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(stream.read())))
    program, *arguments = shlex.split(call)
    assert program == "zipperasr"
    assert main(arguments) == 0, line


def test_every_block_runs(root, workplace, monkeypatch, capsys):
    page = (root / "docs" / "transcribe.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks] == ["bash", "python", "bash", "python", "python", "python"]
    for line in blocks[0][1].splitlines():
        run(line, monkeypatch)
    alone, subtitles = capsys.readouterr().out.split("\n", 1)
    assert subtitles == f"1\n00:00:00,000 --> 00:00:01,000\n{alone}\n"
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone(noise(0.5)))
    for line in blocks[2][1].splitlines():
        run(line, monkeypatch)
    capsys.readouterr()
    exec(compile("".join(code for language, code in blocks if language == "python"), str(root), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{alone} [(0.0, 1.0, {alone!r})]"
    assert printed[1].split()[0] in ("de", "es", "ja")
    scores = [float(line.split(" ")[0]) for line in printed[2:]]
    assert len(scores) > 1 and scores == sorted(scores, reverse=True)
    written = {path.name: json.loads(path.read_text("utf-8")) for path in (workplace / "transcripts").iterdir()}
    assert set(written) == {"a.json", "utt1.json"}
    assert all(sum(transcript["lang_probs"].values()) == pytest.approx(1) for transcript in written.values())
