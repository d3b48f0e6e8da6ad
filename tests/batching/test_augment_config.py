"""AugmentConfig refuses invalid values, is off by default and found under the key `augment`."""

from __future__ import annotations

import math

import pytest

from zipperasr.batching.augment_config import AugmentConfig
from zipperasr.batching.augmenter import Augmenter
from zipperasr.config import load_yaml, parse_overrides
from zipperasr.train.train_config import TrainConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *[({name: 1.5}, f"{name}: got 1.5, wanted 0 to 1") for name in ("reverb", "noise", "telephone", "spec")],
        ({"noise": math.nan}, "noise: got nan, wanted 0 to 1"),
        ({"time_share": -0.1}, "time_share: got -0.1, wanted 0 to 1"),
        ({"speed": (0.9, 0.0)}, "speed: got 0.0, wanted 0.5 to 2"),
        ({"speed": (1.0,) * 21}, "speed: got 21 factors, wanted at most 20"),
        ({"rt60_s": (0.0, 0.5)}, "rt60_s: got 0.0, wanted 0.05 to 3"),
        ({"rt60_s": (0.5, 0.2)}, r"rt60_s: got \[0.5, 0.2\], wanted the lowest and the highest value"),
        ({"direct_db": (0.0,)}, r"direct_db: got \[0.0\], wanted the lowest and the highest value"),
        ({"direct_db": (0.0, math.inf)}, "direct_db: got inf, wanted -20 to 40"),
        ({"snr_db": (5.0, 20.0, 30.0)}, "snr_db: got .*, wanted the lowest and the highest value"),
        ({"snr_db": (-30.0, 20.0)}, "snr_db: got -30.0, wanted -20 to 60"),
        ({"freq_masks": -1}, "freq_masks: got -1, wanted 0 to 20"),
        ({"time_masks": 21}, "time_masks: got 21, wanted 0 to 20"),
        ({"freq_width": -1}, "freq_width: got -1, wanted at least 0"),
        ({"time_width": -1}, "time_width: got -1, wanted at least 0"),
        ({"noise_kinds": ("pinc",)}, r"noise_kinds: unknown value 'pinc'; did you mean 'pink'\?"),
        ({"noise_kinds": ()}, "noise_kinds: got none, wanted one or more of white, pink"),
        ({"noise_list": ""}, "noise_list: got an empty path"),
        ({"rir_list": ""}, "rir_list: got an empty path"),
    ],
)
def test_a_wrong_value_is_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**settings)


def read(tmp_path, text: str, *overrides: str) -> AugmentConfig:
    path = tmp_path / "sft.yaml"
    path.write_text(f"epochs: 1\n{text}\n")
    return load_yaml(TrainConfig, path, parse_overrides(list(overrides), "--train_args")).augment


def test_errors_name_the_file_or_the_override(tmp_path):
    with pytest.raises(ValueError, match=r"sft\.yaml: augment: unknown key 'noize'; did you mean 'noise'\?"):
        read(tmp_path, "augment: {noize: 0.5}")
    with pytest.raises(ValueError, match=r"sft\.yaml: augment: speed: got 0\.9, wanted a list"):
        read(tmp_path, "augment: {speed: 0.9}")
    with pytest.raises(ValueError, match=r"--train_args augment\.noise=2: augment: noise: got 2\.0, wanted 0 to 1"):
        read(tmp_path, "", "augment.noise=2")


def test_it_is_off_by_default_and_set_in_the_file_or_on_the_command_line(tmp_path):
    assert not read(tmp_path, "").active
    assert read(tmp_path, "augment: {noise: 0.5}").noise == 0.5
    both = read(tmp_path, "augment: {noise: 0.5}", "augment.speed=[0.9,1,1.1]", "augment.spec=1")
    assert (both.noise, both.speed, both.spec) == (0.5, (0.9, 1.0, 1.1), 1.0)


@pytest.mark.parametrize("settings", [{}, {"speed": (1.0,)}, {"snr_db": (0.0, 5.0), "noise_list": "n.txt"}])
def test_settings_without_a_share_or_another_speed_augment_nothing(settings):
    config = AugmentConfig(**settings)
    assert not config.active and config.lists == {} and config.speeds == ()
    assert Augmenter.make(config, 1, 80) is None
    assert config.described() == "augmentation: none"


def test_the_log_says_what_is_augmented(tmp_path):
    config = AugmentConfig(speed=(0.9, 1.0, 1.1), noise=0.5, noise_list="n.txt", reverb=0.3, telephone=0.2, spec=1.0)
    assert config.described() == "augmentation: speed 0.9, 1, 1.1; reverb 0.3; noise 0.5 (n.txt); telephone 0.2; spec 1"
    assert config.lists == {"noise_list": "n.txt"}


def test_a_used_list_is_checked(tmp_path):
    config = AugmentConfig(reverb=0.3, rir_list=str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match=r"rir_list: .*none\.txt: no such file"):
        Augmenter.make(config, 1, 80)


def test_masks_wider_than_the_features_are_an_error():
    config = AugmentConfig(spec=1.0, freq_width=81)
    assert Augmenter.make(config, 1, 81) == Augmenter(config, 1)
    with pytest.raises(
        ValueError, match=r"augment\.freq_width: got 81, wanted at most 80, the mel_bins of model\.yaml"
    ):
        Augmenter.make(config, 1, 80)
    assert Augmenter.make(AugmentConfig(noise=1.0, freq_width=81), 1, 80) is not None
