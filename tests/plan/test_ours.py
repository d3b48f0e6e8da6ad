"""The table of settings that are not from the paper shows the current configuration."""

from __future__ import annotations

import dataclasses

import pytest

from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.lora.zipper_hard import ZipperHardOptions
from zipperasr.plan import ours
from zipperasr.plan.parameters import build_phases
from zipperasr.train.train_config import TrainConfig


@pytest.fixture
def config(full_config):
    return {
        "align": TrainConfig(epochs=1),
        "sft": TrainConfig(epochs=3),
        "model": full_config,
        "decode": DecodeConfig(),
    }


def shown(config, model, lora="zipper_soft") -> dict[str, str]:
    return {name: value for name, value, _ in ours.our_rows(config, model, lora)}


def test_different_values_of_both_phases_are_shown_together(config, full_model):
    values = shown(config, full_model[0])
    assert values["epochs in align.yaml and sft.yaml"] == "1 / 3"
    assert values["betas in align.yaml and sft.yaml"] == "0.9, 0.95"


def test_values_equal_those_of_the_configuration(config, full_model):
    config["sft"] = dataclasses.replace(config["sft"], absent_language="dense", epochs=1)
    config["decode"] = DecodeConfig(beam=5)
    values = shown(config, full_model[0])
    assert values["absent_language in align.yaml and sft.yaml"] == "hold / dense"
    assert values["epochs in align.yaml and sft.yaml"] == "1"
    assert values["beam in decode.yaml"] == "5"
    assert values["projector_dim in model.yaml"] == "2048"  # derived by the model


@pytest.mark.parametrize(
    ("lora", "wanted"),
    [
        ("vanilla", {}),
        ("flylora", {"top_k": "None"}),
        ("zipper_soft", {"router_affine": "false", "learned_embeddings": "0"}),
        (
            "zipper_hard",
            {"router_affine": "false", "learned_embeddings": "0", "tau": "0.25", "p_selects_shared": "true"},
        ),
    ],
)
def test_a_variant_shows_its_own_options(config, full_config, lora, wanted):
    options = {"zipper_hard": ZipperHardOptions(tau=0.25)}
    full_config = dataclasses.replace(full_config, encoder_lora=full_config.encoder_lora.with_options(options))
    model, _ = build_phases(full_config, lora, ["de", "ja"])
    values = shown(config, model, lora)
    start = f"encoder_lora.{lora}."
    found = {name: value for name, value in values.items() if name.startswith("encoder_lora.")}
    assert found == {f"{start}{name} in model.yaml": value for name, value in wanted.items()}
    assert ("router init" in values) == (lora in ("zipper_soft", "zipper_hard"))


def test_a_line_without_a_key_is_an_error(config, full_model, monkeypatch):
    monkeypatch.setitem(ours.TRAINING, "momentum", "gone")
    with pytest.raises(ValueError, match="TrainConfig has no key 'momentum'; remove it from the tables in"):
        shown(config, full_model[0])
