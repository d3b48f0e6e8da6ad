"""TrainConfig refuses invalid values; every shipped configuration loads."""

from __future__ import annotations

import math

import pytest

from zipperasr.audio.segments import REGIMES
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.train.train_config import PacksPerBatch, TrainConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "bf61"}, r"precision: unknown value 'bf61'; did you mean 'bf16'\?"),
        ({"absent_language": "held"}, r"absent_language: unknown value 'held'; did you mean 'hold'\?"),
        ({"packs_per_batch": 0}, "packs_per_batch: got 0, wanted at least 1"),
        ({"packs_per_batch": PacksPerBatch(16, 0)}, r"packs_per_batch\.full: got 0, wanted at least 1"),
        ({"accumulation": 0}, "accumulation: got 0, wanted at least 1"),
        ({"epochs": 0}, "epochs: got 0, wanted at least 1"),
        ({"log_every": 0}, "log_every: got 0, wanted at least 1"),
        *[({"lr": lr}, "lr: got .*, wanted at least 0 and finite") for lr in (math.nan, math.inf, -1.0)],
        ({"warmup_ratio": 2.0}, "warmup_ratio: got 2.0, wanted 0 to 1"),
        ({"betas": (0.9, 1.0)}, r"betas: got \(0.9, 1.0\), wanted two numbers from 0 to below 1"),
        ({"betas": (0.9,)}, "wanted two numbers from 0 to below 1"),
        ({"betas": (-0.1, 0.9)}, "betas: got -0.1, wanted 0 to 1"),
        ({"num_workers": -1}, "num_workers: got -1, wanted at least 0"),
        ({"watchdog_s": math.inf}, "watchdog_s: got inf, wanted at least 0 and finite"),
        ({"gradient_clipping": math.nan}, "gradient_clipping: got nan, wanted at least 0 and finite"),
        ({"weight_decay": -0.1}, "weight_decay: got -0.1, wanted at least 0"),
        ({"router_lr_factor": -1.0}, "router_lr_factor: got -1.0, wanted at least 0"),
        ({"save_every": -1}, "save_every: got -1, wanted at least 0"),
        ({"eval_every": 10**30}, "eval_every: got 10{30}, wanted at most"),
        ({"language_sampling": 1.5}, "language_sampling: got 1.5, wanted 0 to 1"),
        (
            {"zero_stage": 3},
            "zero_stage: got 3, wanted 0, 1 or 2; ZeRO-3 is not supported: it shards the per-language weights",
        ),
    ],
)
def test_a_wrong_value_is_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{"epochs": 1, **settings})


def test_unknown_key_suggests_the_nearest(tmp_path):
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


def test_only_the_example_augments(recipe):
    files = sorted(path for path in (recipe / "conf").glob("*/*.yaml") if path.name.startswith(("align", "sft")))
    augmented = [
        str(path.relative_to(recipe / "conf")) for path in files if load_yaml(TrainConfig, path).augment.active
    ]
    assert augmented == ["mini/sft_augment.yaml"]


def test_the_full_scale_is_the_papers(recipe):
    for phase in ("align", "sft"):
        config = load_yaml(TrainConfig, recipe / "conf" / "full" / f"{phase}.yaml")
        assert (config.lr, config.warmup_ratio, config.zero_stage) == (2e-5, 0.1, 2)
        assert [config.for_regime(regime).packs_per_batch for regime in ("chunked", "full")] == [16, 10]


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("scale", ["mini", "full"])
def test_a_single_number_of_packs_applies_to_both_regimes(recipe, scale, regime):
    path = recipe / "conf" / scale / "sft.yaml"
    assert load_yaml(TrainConfig, path, parse_overrides(["packs_per_batch=8"])).for_regime(regime).packs_per_batch == 8


def test_one_regime_can_be_overridden_alone(recipe):
    path = recipe / "conf" / "full" / "sft.yaml"
    config = load_yaml(TrainConfig, path, parse_overrides(["packs_per_batch.full=6"]))
    assert [config.for_regime(regime).packs_per_batch for regime in ("chunked", "full")] == [16, 6]


@pytest.mark.parametrize(
    ("packs", "message"),
    [
        ("{chunked: 16}", r"sft\.yaml: packs_per_batch: missing full"),
        ("{chunked: 16, ful: 10}", r"packs_per_batch: unknown key 'ful'; did you mean 'full'\?"),
        ("{chunked: 16, full: ten}", r"packs_per_batch: full: got 'ten', wanted int"),
        ("[16, 10]", r"packs_per_batch: got \[16, 10\], wanted int"),
    ],
)
def test_packs_must_be_one_number_or_one_per_regime(tmp_path, packs, message):
    (tmp_path / "sft.yaml").write_text(f"epochs: 1\npacks_per_batch: {packs}\n")
    with pytest.raises(ValueError, match=message):
        load_yaml(TrainConfig, tmp_path / "sft.yaml")


@pytest.mark.parametrize(
    ("packs_per_step", "world_size", "shares"),
    [
        (128, 8, (16, 1)),  # as configured
        (128, 4, (16, 2)),
        (128, 1, (16, 8)),
        (128, 16, (8, 1)),
        (96, 4, (12, 2)),  # 24 packs per process are not a multiple of 16
        (4, 4, (1, 1)),
    ],
)
def test_a_global_batch_is_divided_into_micro_steps_of_at_most_packs_per_batch(packs_per_step, world_size, shares):
    config = TrainConfig(epochs=1, packs_per_batch=16, accumulation=1)
    divided = config.with_global_batch(packs_per_step, world_size)
    assert (divided.packs_per_batch, divided.accumulation) == shares
    assert divided.packs_per_step(world_size) == packs_per_step


def test_the_configured_division_is_kept_for_the_same_number_of_processes():
    for packs, accumulation in ((1, 1), (2, 3), (16, 1), (6, 4)):
        config = TrainConfig(epochs=1, packs_per_batch=packs, accumulation=accumulation)
        assert config.with_global_batch(config.packs_per_step(3), 3) == config


@pytest.mark.parametrize(
    ("packs_per_step", "world_size", "remedy"), [(128, 6, "use 4 or 8"), (6, 4, "use 3 or 6"), (2, 3, "use 2")]
)
def test_a_global_batch_without_equal_shares_is_an_error(packs_per_step, world_size, remedy):
    with pytest.raises(
        ValueError,
        match=f"global batch of {packs_per_step} packs cannot be divided among {world_size} processes; {remedy}$",
    ):
        TrainConfig(epochs=1).with_global_batch(packs_per_step, world_size)
