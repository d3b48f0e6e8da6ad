"""Three DeepSpeed steps against plain torch: all ZeRO stages and precisions, one and two ranks, with accumulation."""

from __future__ import annotations

import pytest
import torch

from tests.train.step_worker import launch

PRECISIONS = ("fp32", "bf16", "fp16")
HAS_FP16 = torch.ops.mkldnn._is_mkldnn_fp16_supported()  # DeepSpeed's requirement on a CPU
ONE_RANK = {
    f"{precision}_{stage}": {"precision": precision, "zero_stage": stage}
    for precision in PRECISIONS
    for stage in (0, 1, 2)
    if precision != "fp16" or HAS_FP16
}
ONE_RANK |= {
    f"independent_{stage}": {"precision": "bf16", "zero_stage": stage, "variant": "independent"} for stage in (0, 2)
}
DEFAULTS = {"communication_data_type": None, "data_types": None, "zero_optimization": {"overlap_comm": None}}
TWO_RANKS = {f"ours_{number}": {"precision": "bf16", "accumulation": number} for number in (1, 4)}
TWO_RANKS |= {f"defaults_{number}": {**TWO_RANKS[f"ours_{number}"], "deepspeed": DEFAULTS} for number in (1, 4)}
TWO_RANKS |= {
    "small_buckets": {"precision": "bf16", "deepspeed": {"zero_optimization": {"reduce_bucket_size": 500}}},
    "fp32": {"precision": "fp32", "accumulation": 2},
}


@pytest.fixture(scope="module")
def of_one_rank(tiny_recipe, tmp_path_factory) -> dict[str, dict]:
    return launch(tiny_recipe / "exp" / "backbones", tmp_path_factory.mktemp("one"), ONE_RANK, 1)


@pytest.fixture(scope="module")
def of_two_ranks(tiny_recipe, tmp_path_factory) -> dict[str, dict]:
    return launch(tiny_recipe / "exp" / "backbones", tmp_path_factory.mktemp("two"), TWO_RANKS, 2)


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_zero_stage_and_precision_equals_torch(of_one_rank, precision, stage):
    if precision == "fp16" and not HAS_FP16:
        pytest.skip("DeepSpeed trains in fp16 on no CPU without AVX512-FP16")
    check(of_one_rank[f"{precision}_{stage}"], precision)


@pytest.mark.parametrize("stage", [0, 2])
def test_banks_of_a_and_b_equal_torch(of_one_rank, stage):
    check(of_one_rank[f"independent_{stage}"], "bf16")


def check(found: dict, precision: str) -> None:
    assert found["dtype"] == {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16"}[precision]
    assert found["gradient"] <= 1e-5  # of the float32 gradients that the optimiser sees
    assert found["weights"] <= 1e-6
    assert found["moved"] > 0.01
    assert found["steps_by_language"] == [[3.0, 2.0, 1.0]]  # of de, es, ja: an absent language keeps its count


@pytest.mark.parametrize("accumulation", [1, 4])
def test_two_ranks_sum_bfloat16_gradients_exactly(of_two_ranks, accumulation):
    check(of_two_ranks[f"ours_{accumulation}"], "bf16")


@pytest.mark.parametrize("accumulation", [1, 4])
def test_deepspeeds_defaults_would_sum_inexactly(of_two_ranks, accumulation):
    """The reason for our settings."""
    assert of_two_ranks[f"defaults_{accumulation}"]["gradient"] > 1e-3


def test_buckets_smaller_than_most_parameters_change_nothing(of_two_ranks):
    check(of_two_ranks["small_buckets"], "bf16")


def test_two_ranks_in_float32(of_two_ranks):
    check(of_two_ranks["fp32"], "fp32")
