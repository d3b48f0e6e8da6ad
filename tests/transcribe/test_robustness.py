"""The recipe's table of silence and joined utterances, on a tiny model and noise."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import soundfile

from local.mini.robustness import WAYS, Spoken, main
from tests.transcribe.sound import RATE, noise
from zipperasr.datadir.entry import Entry
from zipperasr.datadir.set_table import SetRow, write_sets
from zipperasr.datadir.write import write_data_dir

CLIPS = [Spoken(noise(2.0 + number / 4, number), f"wort{number}") for number in range(12)]


def made(way: str) -> list[Spoken]:
    return WAYS[way](CLIPS, random.Random(1))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_has_the_same_words_and_the_same_speech(way):
    assert sorted(" ".join(one.text for one in made(way)).split()) == sorted(clip.text for clip in CLIPS)
    audio = np.concatenate([one.samples for one in made(way)])
    assert all(clip.samples.tobytes() in audio.tobytes() for clip in CLIPS)


@pytest.mark.parametrize(("way", "level_db"), [("1 s of zeros", -120), ("1 s of noise", -55)])
def test_edges_are_silence_of_one_second(way, level_db):
    for clip, one in zip(CLIPS, made(way), strict=True):
        assert len(one.samples) == len(clip.samples) + 2 * RATE
        for edge in (one.samples[:RATE], one.samples[-RATE:]):
            assert 10 * np.log10(np.square(edge).mean() + 1e-12) == pytest.approx(level_db, abs=0.3)


@pytest.mark.parametrize("seconds", [6, 13, 25])
def test_joined_recordings_have_the_length_in_the_header(seconds):
    *full, _ = made(f"{seconds} s")
    assert full and all(seconds <= len(one.samples) / RATE < seconds + 4.75 + 0.8 * seconds / 2 for one in full)


def test_the_page_has_a_row_for_each_high_resource_language_and_their_mean(trained, recipe, tmp_path):
    raw, rows = tmp_path / "raw", []
    for code in ("de", "es", "ja"):
        entries = []
        for number in range(3):
            path = tmp_path / f"{code}{number}.wav"
            soundfile.write(path, noise(0.5 + number, number), RATE)
            entries.append(Entry(f"s-{code}{number}", "s", str(path), "ein zwei drei", code, 0.5 + number, 1))
        write_data_dir(raw / f"test_mls_{code}", entries)
        rows.append(SetRow(f"test_mls_{code}", "test", "sft", "mls", code))
    write_sets(raw / "sets.tsv", rows)
    page = tmp_path / "ROBUSTNESS.md"
    options = ["--exp", str(trained), "--raw", str(raw), "--out", str(page), "--tokens_per_s", "2", "--utts", "2"]
    options += [f"--{name}={recipe / 'conf' / name}.tsv" for name in ("languages", "datasets")]

    assert main(options) == 0

    text = page.read_text(encoding="utf-8")
    cells = {row[0]: row[2:] for row in re.findall(r"^\| (\w+) \| (\w*) \| (.*) \|$", text, re.MULTILINE)}
    rates = {name: [float(cell) for cell in found[0].split("|")] for name, found in cells.items() if name != "language"}
    assert set(rates) == {"de", "es", "mean"}, "ja is a low-resource language"
    assert [len(found) for found in rates.values()] == [len(WAYS) + len(WAYS) - 1] * 3
    for mean, de, es in list(zip(rates["mean"], rates["de"], rates["es"], strict=True))[: len(WAYS)]:
        assert mean == pytest.approx((de + es) / 2, abs=0.01)
    assert rates["de"][len(WAYS)] == pytest.approx(rates["de"][1] / rates["de"][0], abs=0.01)
