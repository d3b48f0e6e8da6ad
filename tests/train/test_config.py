"""TrainConfig refuses what cannot be trained with; every shipped configuration loads."""

from __future__ import annotations

import pytest

from zipperasr.config import load_yaml
from zipperasr.train.config import TrainConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "bf61"}, r"precision: unknown value 'bf61'; did you mean 'bf16'\?"),
        ({"absent_language": "held"}, r"absent_language: unknown value 'held'; did you mean 'hold'\?"),
        ({"packs_per_batch": 0}, "packs_per_batch: got 0, wanted at least 1"),
        ({"accumulation": 0}, "accumulation: got 0, wanted at least 1"),
        ({"epochs": 0}, "epochs: got 0, wanted at least 1"),
        ({"log_every": 0}, "log_every: got 0, wanted at least 1"),
        ({"zero_stage": 3}, "zero_stage: got 3, wanted 0, 1 or 2; 3 shards what the banks must keep whole"),
    ],
)
def test_a_wrong_value_is_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{"epochs": 1, **settings})


def test_unknown_key_names_the_nearest(tmp_path):
    (tmp_path / "sft.yaml").write_text("epochs: 1\nlearning_rates: 1\nwarmup_ration: 0.2\n")
    with pytest.raises(ValueError, match=r"sft\.yaml: unknown key 'learning_rates'"):
        load_yaml(TrainConfig, tmp_path / "sft.yaml")
    (tmp_path / "sft.yaml").write_text("epochs: 1\nwarmup_ration: 0.2\n")
    with pytest.raises(ValueError, match=r"unknown key 'warmup_ration'; did you mean 'warmup_ratio'\?"):
        load_yaml(TrainConfig, tmp_path / "sft.yaml")


@pytest.mark.parametrize("phase", ["align", "sft"])
@pytest.mark.parametrize("scale", ["mini", "full"])
def test_shipped_configurations_load(recipe, scale, phase):
    assert load_yaml(TrainConfig, recipe / "conf" / scale / f"{phase}.yaml").epochs >= 1


def test_the_full_scale_is_the_papers(recipe):
    for phase in ("align", "sft"):
        config = load_yaml(TrainConfig, recipe / "conf" / "full" / f"{phase}.yaml")
        assert (config.lr, config.warmup_ratio, config.packs_per_batch, config.zero_stage) == (2e-5, 0.1, 16, 2)
