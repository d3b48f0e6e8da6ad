"""The recipe's comparison of given and detected languages, with a tiny model and noise."""

from __future__ import annotations

import re

import soundfile

from local.compare_detection import main
from tests.transcribe.sound import RATE, noise
from zipperasr.datadir.entry import Entry
from zipperasr.datadir.set_table import SetRow, write_sets
from zipperasr.datadir.write import write_data_dir


def test_every_test_set_has_a_row_followed_by_the_mean(trained, recipe, tmp_path):
    raw, rows = tmp_path / "raw", []
    for code in ("de", "ja"):
        entries = []
        for number in range(3):
            path = tmp_path / f"{code}{number}.wav"
            soundfile.write(path, noise(0.5 + number, number), RATE)
            entries.append(Entry(f"s-{code}{number}", "s", str(path), "ein zwei drei", code, 0.5 + number, 1))
        write_data_dir(raw / f"test_mls_{code}", entries)
        rows.append(SetRow(f"test_mls_{code}", "test", "sft", "mls", code))
    write_sets(raw / "sets.tsv", rows)
    page = tmp_path / "DETECTION.md"
    options = ["--model", str(trained), "--raw", str(raw), "--out", str(page), "--tokens_per_s", "2"]

    assert main([*options, "--languages", str(recipe / "conf" / "languages.tsv")]) == 0

    text = page.read_text(encoding="utf-8")
    found = {
        name: [float(cell) for cell in cells.split("|")]
        for name, cells in re.findall(
            r"^\| (test_mls_de|test_mls_ja|mean) \|[^|]*\|[^|]*\| (.*?) \|$", text, re.MULTILINE
        )
    }
    assert set(found) == {"test_mls_de", "test_mls_ja", "mean"}
    for mean, one, other in zip(found["mean"], found["test_mls_de"], found["test_mls_ja"], strict=True):
        assert abs(mean - (one + other) / 2) < 0.01
    assert "Whisper needs another" in text
