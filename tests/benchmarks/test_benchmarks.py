"""Every benchmark runs at a tiny size and replaces its own section of the results, and no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.score.sclite.real import needs_sclite
from zipperasr.lora import VARIANTS

PAGE = "# Benchmarks\n\n## LoRA layer, cpu, float32\n\nold figures\n\n## Another\n\nkept\n"


def run(root: Path, script: str, *options: str) -> None:
    command = [sys.executable, root / "benchmarks" / script, *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert done.returncode == 0, done.stderr


def test_lora_times_every_variant_against_peft(root, tmp_path):
    page = tmp_path / "RESULTS.md"
    page.write_text(PAGE, encoding="utf-8")
    few = ["--rows", "16", "--rounds", "1", "--warmup", "0", "--languages", "3", "--threads", "1"]
    run(root, "lora.py", *few, "--results", str(page))
    text = page.read_text(encoding="utf-8")
    assert "old figures" not in text and "## Another\n\nkept\n" in text
    for name in ("frozen layer alone", "PEFT LoRA", *VARIANTS):
        assert text.count(f"\n| {name} | ") == 2  # multilingual and monolingual batch
    assert text.count("| PEFT LoRA | 1.00 (") == 2
    assert "cores" in text and "peft 0." in text


def test_parameters_are_counted_for_every_variant(root, tmp_path):
    run(root, "parameters.py", "--results", str(tmp_path / "RESULTS.md"))
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert all(f"\n| {name} | " in text for name in VARIANTS)
    assert "| vanilla | 23,592,960 | – | 23,592,960 | 0.08 |" in text  # 32 layers x 32 x (10 x 1280 + 2 x 5120)


def test_a_training_step_is_compared_with_both_peers(root, tmp_path):
    page = tmp_path / "RESULTS.md"
    few = ["--size", "tiny", "--rounds", "1", "--warmup", "0", "--regime", "chunked", "--threads", "1"]
    run(root, "train_step.py", *few, "--results", str(page))
    text = page.read_text(encoding="utf-8")
    for name in ("ours", "HF layers, one utterance at a time", "padded batches of 8 utterances"):
        assert f"\n| {name} | " in text
    assert "Losses per label of the first two methods differ by " in text and "MFU" in text


def test_a_killed_recipe_ends_with_the_same_files(root, tmp_path):
    page = tmp_path / "RESULTS.md"
    few = ["--kills", "1", "--stop_stage", "0", "--work", str(tmp_path / "work")]
    run(root, "survival.py", *few, "--results", str(page))
    text = page.read_text(encoding="utf-8")
    assert "the same files as an uninterrupted run" in text and "\n| 0 | 1 |" in text


def test_files_that_differ_are_named(root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(root / "benchmarks")
    from survival import differences

    for base, loss in (("one", 1.0), ("two", 2.0)):
        (tmp_path / base / "exp").mkdir(parents=True)
        for name, line in (("a", {"loss": loss}), ("b", {"loss": 3.0, "seconds": loss})):
            (tmp_path / base / "exp" / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "two" / "data").mkdir()
    (tmp_path / "two" / "data" / "text").touch()
    found = list(differences(tmp_path / "one", tmp_path / "two"))
    assert found == ["data/text: only in one of them", "exp/a.jsonl: differs"]


def test_audio_is_compared_with_each_peer(root, tmp_path):
    page = tmp_path / "RESULTS.md"
    run(root, "audio.py", "--utts", "2", "--seconds", "1", "--rounds", "1", "--results", str(page))
    text = page.read_text(encoding="utf-8")
    for what in ("read flac", "read opus", "read mp3", "read flac.ark", "log-mel, 128 bins"):
        assert f"\n| {what} | " in text


def test_the_page_is_timed_in_a_browser(root, tmp_path):
    pytest.importorskip("selenium", reason="no selenium; pip install -e '.[dev]'")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no Chromium with its driver; on Debian: apt install chromium chromium-driver")
    page = tmp_path / "RESULTS.md"
    run(root, "page.py", "--utts", "60", "--rounds", "1", "--results", str(page))
    (row,) = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| 60 |")]
    assert all(float(cell) > 0 for cell in row.strip("|").split("|")[2:])


def test_data_at_scale_reports_time_and_memory(root, tmp_path):
    page = tmp_path / "RESULTS.md"
    run(root, "data.py", "--corpus_utts", "400", "--manifest_rows", "3000", "--results", str(page))
    text = page.read_text(encoding="utf-8")
    assert "| stage 1 on two MLS corpora with utterance lists | 400 | " in text
    assert text.count("| the same with 2 processes; ") == 4
    assert "| pack an epoch | 3,000 | " in text and "fill rate 99." in text


def test_files_that_open_slowly_are_opened_once(root, tmp_path):
    page = tmp_path / "RESULTS.md"
    run(root, "slow_files.py", "--files", "40", "--delay_ms", "1", "--results", str(page))
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if " | 40 | " in line]
    assert len(rows) == 4 and all(row.endswith("| 1 |") for row in rows)


@needs_sclite
def test_scoring_is_compared_with_the_real_sclite(root, tmp_path):
    page = tmp_path / "RESULTS.md"
    run(root, "score.py", "--utts", "20", "--many_utts", "30", "--rounds", "1", "--results", str(page))
    text = page.read_text(encoding="utf-8")
    for case in ("20 | `-o all`", "20 | `-o sum`", "20 | `-o all -c`", "30 | `-o all`"):
        assert f"\n| {case} | " in text
