"""The setup that follows from a request: run.json and the fingerprint."""

from __future__ import annotations

from pathlib import Path

import pytest

from zipperasr.model.experiment import Experiment
from zipperasr.model.model_config import ModelConfig
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


@pytest.mark.parametrize("value", [0, -3.0, float("nan")])
def test_a_longest_clip_that_is_no_length_is_an_error(value):
    with pytest.raises(ValueError, match=r"longest_s: got .*, wanted a finite number above 0"):
        Experiment("align", "chunked", None, None, ("de",), 1, ModelConfig("w", "l"), longest_s=value)
