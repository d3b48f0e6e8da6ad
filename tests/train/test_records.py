"""Curves of a training: appended, cut back to the checkpoint when it resumes, silent on other ranks."""

from __future__ import annotations

import json

from zipperasr.train.records import Records, peak_memory_gb


def test_lines_after_the_checkpoint_are_dropped_before_a_resumed_run_repeats_them(tmp_path):
    records = Records(tmp_path, 10, 0, active=True, title="t")
    for step in (1, 2, 3):
        records.step(step, {"loss": 1.0})
        records.write("train", step, {"loss": 1.0 / step})
    records.close()
    with (tmp_path / "train.jsonl").open("a") as lines:
        lines.write('{"step": 4, "lo')  # the killed run was writing this line
    records = Records(tmp_path, 10, 2, active=True, title="t")
    records.write("train", 3, {"loss": 9.0})
    records.close()
    written = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert written == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 9.0}]


def test_numbers_go_to_tensorboard_too(tmp_path):
    records = Records(tmp_path, 1, 0, active=True, title="t")
    records.write("dev", 1, {"loss": 0.25, "p": {"de": [0.5]}})
    records.close()
    assert any(path.stat().st_size > 0 for path in (tmp_path / "tensorboard").iterdir())


def test_other_ranks_write_nothing(tmp_path):
    records = Records(tmp_path / "out", 10, 0, active=False, title="t")
    records.step(1, {"loss": 1.0})
    records.write("train", 1, {"loss": 1.0})
    records.say("hello")
    records.close()
    assert not (tmp_path / "out").exists()


def test_memory_is_measured():
    assert 0.05 < peak_memory_gb() < 100
