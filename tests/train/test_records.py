"""Training curves: appended to, cut back to the checkpoint on resuming, written by rank 0 only."""

from __future__ import annotations

import json

import pytest

from zipperasr.train.records import Records


def test_a_resumed_training_replaces_the_lines_after_its_checkpoint(tmp_path):
    with Records(tmp_path, 10, 0, active=True, title="t") as records:
        for step in (1, 2, 3):
            records.step(step, {"loss": 1.0})
            records.write("train", step, {"loss": 1.0 / step})
    with (tmp_path / "train.jsonl").open("a") as lines:
        lines.write('{"step": 4, "lo')  # a line that the killed training was writing
    with Records(tmp_path, 10, 2, active=True, title="t") as records:
        records.write("train", 3, {"loss": 9.0})
    written = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert written == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 9.0}]


def test_a_training_that_starts_over_replaces_the_lines_of_step_0(tmp_path):
    for _ in range(2):
        with Records(tmp_path, 10, 0, active=True, title="t") as records:
            records.write("dev", 0, {"loss": 1.0})
    assert (tmp_path / "dev.jsonl").read_text() == '{"step": 0, "loss": 1.0}\n'


def test_numbers_are_added_to_tensorboard(tmp_path):
    with Records(tmp_path, 1, 0, active=True, title="t") as records:
        records.write("dev", 1, {"loss": 0.25, "p": {"de": [0.5]}})
    assert any(path.stat().st_size > 0 for path in (tmp_path / "tensorboard").iterdir())


def test_other_ranks_write_nothing(tmp_path):
    with Records(tmp_path / "out", 10, 0, active=False, title="t") as records:
        records.step(1, {"loss": 1.0})
        records.write("train", 1, {"loss": 1.0})
        records.say("hello")
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_written_is_an_error_with_its_path(tmp_path):
    with (
        Records(tmp_path, 1, 0, active=True, title="t") as records,
        pytest.raises(OSError, match=r"train.jsonl: cannot write \(Is a directory\); fix this and rerun"),
    ):
        (tmp_path / "train.jsonl").mkdir()
        records.write("train", 1, {"loss": 1.0})
