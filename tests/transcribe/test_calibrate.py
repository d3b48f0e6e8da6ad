"""Confidences are mapped to the share of right words, and the map travels with the model."""

from __future__ import annotations

import json
import random
import shutil

import pytest
import soundfile

from tests.transcribe.sound import RATE, noise
from zipperasr.datadir.set_table import SetRow, write_sets
from zipperasr.exchange.export import main as export
from zipperasr.transcribe import Transcriber
from zipperasr.transcribe.calibrate import main
from zipperasr.transcribe.calibration import UNCHANGED, Calibration, calibration_error


def overconfident(count: int) -> tuple[list[float], list[bool]]:
    """Words whose log odds of being right are half of what their confidence says, minus 0.5."""
    rng = random.Random(1)
    confidences = [rng.uniform(0.05, 0.999) for _ in range(count)]
    return confidences, [rng.random() < Calibration(0.5, -0.5)(confidence) for confidence in confidences]


def test_the_map_is_recovered_and_reduces_the_calibration_error():
    confidences, correct = overconfident(20_000)
    fitted = Calibration.fit(confidences, correct)
    assert (fitted.scale, fitted.offset) == (pytest.approx(0.5, abs=0.05), pytest.approx(-0.5, abs=0.05))
    assert calibration_error(confidences, correct) > 0.1
    assert calibration_error([fitted(confidence) for confidence in confidences], correct) < 0.02


def test_the_calibration_error_is_a_weighted_mean_over_bins():
    assert calibration_error([0.95, 0.95, 0.15], [True, False, False]) == pytest.approx((0.9 + 0.15) / 3)
    assert calibration_error([1.0, 0.0], [True, False]) == 0
    assert calibration_error([], []) == 0


def test_the_map_keeps_the_order_and_stays_between_0_and_1():
    mapped = [Calibration(0.6, -0.3)(confidence) for confidence in (0.0, 0.2, 0.5, 0.9, 1.0)]
    assert mapped == sorted(mapped) and mapped[0] > 0 and mapped[-1] < 1
    assert UNCHANGED(0.123) == 0.123


def test_words_that_are_all_right_cannot_be_calibrated():
    with pytest.raises(ValueError, match="a calibration needs right and wrong words; use larger dev sets"):
        Calibration.fit([0.5, 0.9], [True, True])


def test_confidences_that_are_higher_for_wrong_words_cannot_be_calibrated():
    with pytest.raises(ValueError, match=r"scale: got -.*, wanted 0 to 100; use larger dev sets"):
        Calibration.fit([0.5, 0.6, 0.7, 0.8], [True, False, True, False])


DAMAGED = {
    "not JSON": "{",
    "no object": "[]",
    "no offset": '{"scale": 1}',
    "no number": '{"scale": null, "offset": 0}',
    "NaN": '{"scale": NaN, "offset": 0}',
    "infinite": '{"scale": 1, "offset": -Infinity}',
    "huge": '{"scale": 1e300, "offset": 0}',
    "decreasing": '{"scale": -1, "offset": 0}',
    "400 digits": f'{{"scale": 1{"0" * 400}, "offset": 0}}',
    "nested": "[" * 9_000,
    "long": f'{{"scale": 1, "offset": 0, "words": "{"x" * 10_000}"}}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_an_error(tmp_path, content):
    (tmp_path / "confidence.json").write_text(content)
    with pytest.raises(ValueError, match=r"confidence\.json: .*wanted .*; delete it and run `zipperasr calibrate`"):
        Calibration.load(tmp_path)


@pytest.mark.parametrize("scale", [1e-3, 100.0])
@pytest.mark.parametrize("offset", [-100.0, 100.0])
def test_extreme_maps_do_not_overflow(scale, offset):
    assert all(0 <= Calibration(scale, offset)(confidence) <= 1 for confidence in (0.0, 0.5, 1.0))


def test_a_map_of_other_weights_is_not_used(tmp_path, capsys):
    (tmp_path / "model.safetensors").write_bytes(b"one")
    Calibration(0.5, -0.5).save(tmp_path, words=3)
    assert Calibration.load(tmp_path) == Calibration(0.5, -0.5) and not capsys.readouterr().err
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert Calibration.load(tmp_path) == UNCHANGED
    assert "fitted with other weights of the model; run `zipperasr calibrate` again" in capsys.readouterr().err


@pytest.fixture
def raw(tmp_path, transcriber):
    """A dev and a test set; the references are what the model says, every second time."""
    for kind in ("dev", "test"):
        directory = tmp_path / "raw" / f"{kind}_x_de"
        directory.mkdir(parents=True)
        lines = {"text": [], "utt2lang": [], "wav.scp": []}
        for number in range(6):
            audio = directory / f"{number}.wav"
            soundfile.write(audio, noise(0.8, number), RATE)
            said = transcriber(audio, lang="de").text
            lines["text"].append(f"u{number} {said if number % 2 else 'etwas anderes'}")
            lines["utt2lang"].append(f"u{number} de")
            lines["wav.scp"].append(f"u{number} {audio}")
        for name, content in lines.items():
            (directory / name).write_text("\n".join(content) + "\n", encoding="utf-8")
    rows = [SetRow(f"{kind}_x_de", kind, "sft", "x", "de") for kind in ("dev", "test")]
    write_sets(tmp_path / "raw" / "sets.tsv", rows)
    return tmp_path / "raw"


def test_the_command_writes_a_map_that_transcribe_and_bundles_use(trained, raw, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = tmp_path / "model"
    shutil.copytree(trained, model)
    assert main(["--model", str(model), "--raw", str(raw), "--device", "cpu"]) == 0
    dev, test = capsys.readouterr().out.splitlines()
    assert dev.startswith("dev: ") and test.startswith("test: ") and "calibration error" in test
    stored = json.loads((model / "confidence.json").read_text(encoding="utf-8"))
    assert stored["words"] > 0
    plain = Transcriber.from_pretrained(trained, "cpu")(noise(0.8, 1), lang="de").segments[0].words
    mapped = Transcriber.from_pretrained(model, "cpu")(noise(0.8, 1), lang="de").segments[0].words
    wanted = Calibration(stored["scale"], stored["offset"])
    assert [word.confidence for word in mapped] == pytest.approx([wanted(word.confidence) for word in plain])
    assert [word.confidence for word in mapped] != pytest.approx([word.confidence for word in plain])
    assert export(["--model", str(model), "--format", "bundle", "--out", str(tmp_path / "m.zip")]) == 0
    assert Transcriber.from_pretrained(tmp_path / "m.zip", "cpu").calibration == wanted


def test_a_model_that_another_run_writes_is_not_calibrated(tmp_path, raw, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / ".model.lock").write_text("")
    assert main(["--model", str(tmp_path / "model"), "--raw", str(raw)]) == 1
    assert ".model.lock exists" in capsys.readouterr().err


def test_a_bundle_cannot_be_calibrated(raw, tmp_path, capsys):
    (tmp_path / "m.zip").write_bytes(b"")
    assert main(["--model", str(tmp_path / "m.zip"), "--raw", str(raw)]) == 1
    assert "m.zip: wanted a training directory" in capsys.readouterr().err
