"""Steps derived from hours, compared with hand calculations."""

from __future__ import annotations

import dataclasses

import pytest

from zipperasr.plan.steps import AssumedSpeech, plan_phase, step_rows
from zipperasr.prepare.dataset_table import DatasetRow
from zipperasr.train.train_config import TrainConfig

# 12.5 speech + 5 text + 1 end token per 2 s + 4 prompt tokens per 2 s = 20 positions per second
SPEECH = AssumedSpeech(utterance_s=2.0, tokens_per_s=5.0, prompt_tokens=4.0, fill=1.0)
ROW = DatasetRow("sft", "mls", "mls", "de", "train", 10.0, "dev", ("test",), (1.0,), None, None)


def test_positions_per_second_add_up():
    assert SPEECH.all_positions_per_s == 20
    assert SPEECH.pack_s(2000) == 100


def test_steps_follow_from_hours():
    train = TrainConfig(epochs=3, packs_per_batch=4, accumulation=2)
    plan = plan_phase([ROW, dataclasses.replace(ROW, train_hours=20.0)], train, 2000, num_gpus=2, speech=SPEECH)
    assert plan.hours == 30
    assert plan.packs == 30 * 36
    assert plan.packs_per_step == 16
    assert plan.steps == 3 * 68  # ceil(1080 / 16) = 68 per epoch
    assert plan.warmup == 20
    assert plan.hours_per_step == pytest.approx(16 * 100 / 3600)


def test_missing_hours_are_an_error():
    with pytest.raises(ValueError, match=r"mls de: no train_hours; add the hours"):
        plan_phase([dataclasses.replace(ROW, train_hours=None)], TrainConfig(epochs=1), 2048, 1, SPEECH)


def test_table_has_a_column_for_each_phase():
    plan = plan_phase([ROW], TrainConfig(epochs=1), 2000, 1, SPEECH)
    rows = step_rows({"stage 1": plan, "stage 2": plan})
    assert rows[0] == ("", "stage 1", "stage 2")
    assert ("packs per epoch", "360", "360") in rows
