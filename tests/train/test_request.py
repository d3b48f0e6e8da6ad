"""The setup that follows from a request: run.json and the fingerprint."""

from __future__ import annotations

from pathlib import Path

import pytest

from zipperasr.train.request import TrainingRequest, TrainingSetup


def setup(recipe: Path, **more) -> TrainingSetup:
    paths = {"config": "conf/align.yaml", "languages": "conf/languages.tsv", "manifest": "dump/manifest"}
    paths = {name: recipe / path for name, path in {**paths, "model": "conf/model.yaml", "out": "exp/x"}.items()}
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
