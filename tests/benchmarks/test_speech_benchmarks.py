"""Benchmarks of a trained model run on a tiny one."""

from __future__ import annotations

import re

import pytest
import soundfile

from tests.benchmarks.test_benchmarks import run
from tests.transcribe.conftest import backbones, trained
from tests.transcribe.sound import RATE, speech
from zipperasr.datadir.set_table import SetRow, write_sets

__all__ = ["backbones", "trained"]


@pytest.fixture
def recipe_speech(trained, tmp_path) -> list[str]:
    """Options with a tiny trained model and a test set of two utterances, as stage 2 writes it."""
    raw = tmp_path / "raw"
    (raw / "test_de").mkdir(parents=True)
    lines: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2lang": [], "utt2spk": []}
    for utt in ("a", "b"):
        soundfile.write(tmp_path / f"{utt}.wav", speech(), RATE)
        values = (str(tmp_path / f"{utt}.wav"), "eins zwei drei vier fünf sechs", "de", utt)
        for file, value in zip(lines, values, strict=True):
            lines[file].append(f"{utt} {value}\n")
    for file, content in lines.items():
        (raw / "test_de" / file).write_text("".join(content), encoding="utf-8")
    write_sets(raw / "sets.tsv", [SetRow("test_de", "test", "sft", "mls", "de")])
    return ["--model", str(trained), "--raw", str(raw), "--results", str(tmp_path / "RESULTS.md")]


def test_voice_detectors_are_compared_on_clips_without_speech(root, tmp_path, recipe_speech):
    run(root, "voice_detector.py", *recipe_speech, "--langs", "de", "--clip_s", "2")
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert re.search(r"\| noise: empty texts \| \d+ of 35 \| 35 of 35 \|", text) and "| error rate, de, % |" in text


def test_streams_are_compared_with_offline_decoding(root, tmp_path, recipe_speech):
    run(root, "streaming.py", *recipe_speech, "--chunks_s", "0.5", "1")
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "| final texts equal to offline decoding | 2 of 2 | 2 of 2 |" in text
    assert "| mean error rate, % |" in text


def test_long_streams_and_streams_through_the_server_are_measured(root, tmp_path, recipe_speech):
    """`streaming.py` fails if the server's texts differ from those of the streams alone."""
    run(root, "streaming.py", *recipe_speech, "--parts", "minute", "server", "hour", "--long_min", "0.2")
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "| final texts equal to offline decoding | 2 of 2 |" in text
    assert (
        "all 2 final texts equal those of each stream alone" in text
        and "| final text after the segment's end |" in text
    )
    assert re.search(r"\| 0 min +\| \d+ +\|", text.replace(":", ""))
