"""Recordings to try, taken from data directories."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.model import tiny
from tests.serve.live import NAME, recording, running
from zipperasr.datadir.entry import Entry
from zipperasr.datadir.write import write_data_dir
from zipperasr.serve.limits import Limits
from zipperasr.serve.samples import read_samples
from zipperasr.serve.service import Service

SECONDS = {"a": 1.5, "b": 2.0, "long": 31.0}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three sets: train with German, test with German and Japanese, and one in an unknown language."""
    for number, (name, seconds) in enumerate(SECONDS.items()):
        (tmp_path / f"{name}.wav").write_bytes(recording(seconds, seed=number))

    def entry(utt: str, audio: str, language: str, start_s: float | None = None) -> Entry:
        end_s = None if start_s is None else start_s + 0.5
        seconds = SECONDS[audio] if start_s is None else 0.5
        return Entry(utt, utt, str(tmp_path / f"{audio}.wav"), f"text {utt}", language, seconds, 1, start_s, end_s)

    write_data_dir(tmp_path / "raw/org/train_x_de", [entry("u1", "a", "de")])
    write_data_dir(tmp_path / "raw/test_x", [entry("v1", "long", "de"), entry("v2", "b", "de"), entry("v3", "a", "ja")])
    write_data_dir(tmp_path / "raw/test_y", [entry("w1", "a", "xx"), entry("w2", "b", "ja")])
    return tmp_path / "raw"


def test_the_first_short_utterance_of_a_test_set_is_taken(raw):
    found = read_samples(raw, ["ja", "de", "es"])
    assert {code: sample.text for code, sample in found.items()} == {"ja": "text v3", "de": "text v2"}
    samples, rate = soundfile.read(io.BytesIO(found["de"].wav))
    expected, _ = soundfile.read(raw.parent / "b.wav")
    assert rate == 16_000 and np.abs(samples - expected).max() < 1e-4


def test_only_the_utterance_is_cut_out_of_a_recording(raw, tmp_path):
    entry = Entry("s1", "s1", str(tmp_path / "a.wav"), "part", "es", 0.5, 1, 0.25, 0.75)
    write_data_dir(raw / "test_z", [entry])
    samples, _ = soundfile.read(io.BytesIO(read_samples(raw, ["es"])["es"].wav))
    whole, _ = soundfile.read(tmp_path / "a.wav")
    assert len(samples) == 8000 and np.abs(samples - whole[4000:12000]).max() < 1e-4


def test_an_empty_set_is_skipped(raw):
    (raw / "test_0").mkdir()
    for table in ("utt2spk", "text", "utt2lang", "utt2dur", "wav.scp"):
        (raw / "test_0" / table).touch()
    assert list(read_samples(raw, ["de"])) == ["de"]


def test_a_directory_without_the_models_languages_is_an_error(raw):
    with pytest.raises(FileNotFoundError, match=r"no data directory with es; give one such as dump/raw"):
        read_samples(raw, ["es"])


def test_samples_are_served_and_listed(raw, transcriber):
    samples = read_samples(raw, transcriber.languages.codes)
    with running(Service(transcriber, NAME, Limits(), samples)) as live:
        assert live.client.get("/model.json").json()["samples"] == {code: one.text for code, one in samples.items()}
        assert live.client.get("/samples/de.wav").content == samples["de"].wav
        missing = next(code for code in (*tiny.CODES, "xx") if code not in samples)
        assert live.client.get(f"/samples/{missing}.wav").json()["error"]["message"].startswith("no sample in")
