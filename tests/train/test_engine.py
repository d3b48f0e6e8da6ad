"""Parameter groups and DeepSpeed's configuration."""

from __future__ import annotations

import pytest
import torch

from tests.model import tiny
from zipperasr.config import load_yaml
from zipperasr.lora.router import RouterOptions
from zipperasr.model.checkpoint import BANK_NAMES
from zipperasr.model.model_config import EncoderLoraConfig, ModelConfig
from zipperasr.plan.parameters import build_phases, with_local_backbones
from zipperasr.train.engine import _languages_of, deepspeed_config, parameter_groups
from zipperasr.train.train_config import TrainConfig


@pytest.fixture(scope="module")
def model(tiny_recipe):
    return tiny.sft_model(tiny.model_config(tiny_recipe / "exp" / "backbones"))


@pytest.fixture(scope="module")
def names(model):
    return {parameter: name for name, parameter in model.named_parameters()}


def test_every_trainable_parameter_is_in_one_group(model):
    grouped = [parameter for group in parameter_groups(model, TrainConfig(epochs=1)) for parameter in group["params"]]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(grouped) == len(trainable)
    assert {id(parameter) for parameter in grouped} == {id(parameter) for parameter in trainable}


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    """The router's tensors are stacked over the layers."""
    return parameter.ndim > (2 if name.startswith("adapters.router.") else 1)


@pytest.mark.parametrize("router_affine", [False, True])
def test_matrices_decay_and_vectors_do_not(tiny_recipe, router_affine):
    lora = EncoderLoraConfig(4, 8.0, {"zipper_soft": RouterOptions(router_affine)})
    model = tiny.sft_model(tiny.model_config(tiny_recipe / "exp" / "backbones", encoder_lora=lora))
    decay = {
        parameter: group["weight_decay"]
        for group in parameter_groups(model, TrainConfig(epochs=1, weight_decay=0.3))
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert decay[parameter] == (0.3 if is_matrix(name, parameter) else 0.0), name


def test_the_router_has_its_own_learning_rate(model, names):
    for group in parameter_groups(model, TrainConfig(epochs=1, router_lr_factor=10.0)):
        routed = {names[parameter].startswith("adapters.router.") for parameter in group["params"]}
        assert routed == {group["lr_factor"] == 10.0}


def test_the_encoder_has_its_own_learning_rate_in_the_alignment_only(tiny_recipe, model):
    config = TrainConfig(epochs=1, encoder_lr_factor=0.1)
    aligned = tiny.align_model(tiny.model_config(tiny_recipe / "exp" / "backbones"))
    aligned_names = {parameter: name for name, parameter in aligned.named_parameters()}
    factors = {
        aligned_names[p]: group["lr_factor"] for group in parameter_groups(aligned, config) for p in group["params"]
    }
    assert {factor for name, factor in factors.items() if name.startswith("encoder.")} == {0.1}
    assert {factor for name, factor in factors.items() if not name.startswith("encoder.")} == {1.0}
    assert {group["lr_factor"] for group in parameter_groups(model, config)} == {1.0}


def test_banks_are_in_groups_of_their_own(model, names):
    found = 0
    for group in parameter_groups(model, TrainConfig(epochs=1)):
        banks = {names[parameter].endswith(BANK_NAMES) for parameter in group["params"]}
        assert banks == {group["banks"]}
        found += group["banks"]
    assert found == 1


def test_elements_of_a_stacked_bank_belong_to_its_languages():
    assert _languages_of(torch.zeros(3, 2, 1)).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("clipping", [1.0, 5.0, 0.0])
def test_gradient_clipping_is_always_set(clipping):
    assert deepspeed_config(TrainConfig(epochs=1, gradient_clipping=clipping))["gradient_clipping"] == clipping


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_precision_and_zero_stage_reach_deepspeed(precision):
    settings = deepspeed_config(TrainConfig(epochs=1, precision=precision, zero_stage=1))
    assert [name for name in ("bf16", "fp16") if settings[name]["enabled"]] == [p for p in [precision] if p != "fp32"]
    assert settings["zero_optimization"]["stage"] == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_gradients_are_reduced_in_float32_during_the_backward_pass(precision, stage):
    settings = deepspeed_config(TrainConfig(epochs=1, precision=precision, zero_stage=stage))
    assert settings["communication_data_type"] == "fp32"
    assert settings["zero_optimization"]["overlap_comm"] is True
    summed = {"grad_accum_dtype": "fp32"} if stage == 2 and precision != "fp32" else None
    assert settings.get("data_types") == summed


def test_stage_6_reduces_several_buckets_of_whole_parameters(recipe):
    model_yaml = recipe / "conf" / "full" / "model.yaml"
    config = with_local_backbones(load_yaml(ModelConfig, model_yaml), model_yaml)
    model, sizes = build_phases(config, "zipper_soft", tiny.table().codes)
    bucket = deepspeed_config(TrainConfig(epochs=1))["zero_optimization"]["reduce_bucket_size"]
    assert sizes["sft"].trained > 6 * bucket
    assert max(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) <= bucket
