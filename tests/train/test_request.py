"""The setup that follows from a request: run.json and the fingerprint."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.tiny_recipe import options
from zipperasr.atomic import mark_current
from zipperasr.model.experiment import Experiment
from zipperasr.model.model_config import ModelConfig
from zipperasr.stages.train import main
from zipperasr.train.request import TrainingRequest, TrainingSetup


def setup(recipe: Path, **more) -> TrainingSetup:
    paths = {"config": "conf/align.yaml", "languages": "conf/languages.tsv", "manifest": "dump/manifest"}
    more = {"out": recipe / "exp/x", **more}
    paths = {name: recipe / path for name, path in {**paths, "model": "conf/model.yaml"}.items()}
    return TrainingSetup.read(TrainingRequest(phase="align", **paths, **more))


@pytest.mark.parametrize(
    ("seed", "tag", "recorded"),
    [(1, "", ""), (1, "_long", "long"), (2, "_seed2", ""), (2, "_long_seed2", "long"), (1, "_seed2", "seed2")],
)
def test_trainings_that_differ_only_in_the_seed_share_their_tag(tiny_recipe, seed, tag, recorded):
    run = setup(tiny_recipe, seed=seed, tag=tag).run_record()
    assert (run.seed, run.tag) == (seed, recorded)


def test_setting_and_tag_are_recorded_and_do_not_retrain(tiny_recipe):
    one, other = setup(tiny_recipe), setup(tiny_recipe, setting="30h", tag="_x")
    assert other.run_record().setting == "30h"
    assert other.inputs == one.inputs


def test_the_seed_and_the_configuration_retrain(tiny_recipe):
    one = setup(tiny_recipe)
    assert setup(tiny_recipe, seed=2).inputs != one.inputs
    assert setup(tiny_recipe, overrides=("lr=0.1",)).inputs != one.inputs


def test_the_longest_training_clips_are_recorded_with_the_model(tiny_recipe, tmp_path):
    train = setup(tiny_recipe, out=tmp_path)
    lengths = [number for manifest in train.train for number in manifest.num_samples.tolist()]
    assert train.experiment.longest_s == round(max(lengths) / 16_000, 2)
    assert Experiment.load(saved(train)).longest_s == train.experiment.longest_s


def saved(of: TrainingSetup) -> Path:
    """A training directory with nothing but its configuration and an empty file of weights."""
    out = of.request.out
    out.mkdir(parents=True, exist_ok=True)
    of.experiment.save(out)
    (out / "model.safetensors").touch()
    return out


def test_augmentation_retrains_and_its_lists_too(tiny_recipe, tmp_path):
    one = setup(tiny_recipe)
    assert setup(tiny_recipe, overrides=("augment.snr_db=[0,9]", "augment.noise=0")).inputs == one.inputs
    noise = next((tiny_recipe / "dump/raw/audio").glob("*.flac"))
    (tmp_path / "noise.txt").write_text(f"{noise}\n")
    listed = ("augment.noise=0.5", f"augment.noise_list={tmp_path}/noise.txt")
    augmented = setup(tiny_recipe, overrides=listed)
    others = {name: value for name, value in augmented.inputs.items() if name not in ("augment", "noise_list")}
    assert others == one.inputs and len(augmented.inputs) == len(one.inputs) + 2
    (tmp_path / "noise.txt").write_text(f"{noise}\n{noise}\n")
    changed = setup(tiny_recipe, overrides=listed).inputs
    assert {name for name, value in changed.items() if augmented.inputs[name] != value} == {"noise_list"}


def test_the_fingerprint_without_augmentation_has_no_trace_of_it(tiny_recipe):
    """Trainings of earlier versions remain up to date."""
    assert "augment" not in setup(tiny_recipe).inputs
    assert "augment" not in repr(setup(tiny_recipe).config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("augment={noise: 0.5, noise_list: none.txt}", "noise_list: none.txt: no such file"),
        ("augment={spec: 0.5}", "augment.freq_width: got 27, wanted at most 8, the mel_bins of model.yaml"),
        ("augment.spec=1.5", "augment: spec: got 1.5, wanted 0 to 1"),
    ],
)
def test_a_mistake_in_the_augmentation_ends_the_stage_before_anything_is_written(
    tiny_recipe, tmp_path, capsys, override, message
):
    argv = options(tiny_recipe, config="conf/align.yaml", manifest="dump/manifest")
    assert main(["--phase", "align", *argv, "--out", str(tmp_path / "out"), "--set", override]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_finished_training_does_not_need_its_recordings(tiny_recipe, tmp_path, capsys):
    (tmp_path / "noise.txt").write_text("removed_since.wav\n")
    settings = (f"augment={{noise: 0.5, noise_list: {tmp_path}/noise.txt}}",)
    finished = setup(tiny_recipe, out=tmp_path / "out", overrides=settings)
    mark_current(saved(finished), finished.inputs)
    argv = options(tiny_recipe, config="conf/align.yaml", manifest="dump/manifest")
    assert main(["--phase", "align", *argv, "--out", str(tmp_path / "out"), "--set", *settings]) == 0
    assert "is up to date" in capsys.readouterr().err


@pytest.mark.parametrize("value", [0, -3.0, float("nan")])
def test_a_longest_clip_that_is_no_length_is_an_error(value):
    with pytest.raises(ValueError, match=r"longest_s: got .*, wanted a finite number above 0"):
        Experiment("align", "chunked", None, None, ("de",), 1, ModelConfig("w", "l"), longest_s=value)
