"""Parameter counts equal sums over the shapes of the layers."""

from __future__ import annotations

import functools

import pytest

from zipperasr.plan.parameters import build_phases, parameter_rows

RANK, LAYERS, D_MODEL, D_INNER = 32, 32, 1280, 5120  # Whisper large-v3's encoder
SHAPES = [(D_MODEL, D_MODEL)] * 4 + [(D_MODEL, D_INNER), (D_INNER, D_MODEL)]  # (d_in, d_out): q k v out fc1 fc2
ALL_IN = LAYERS * sum(d_in for d_in, _ in SHAPES)
ALL_OUT = LAYERS * sum(d_out for _, d_out in SHAPES)
FORMULAS = {  # languages -> parameters, Eq. 7, 8, 9, 11, 13, 14
    "vanilla": lambda n: RANK * (ALL_IN + ALL_OUT),
    "independent": lambda n: n * RANK * (ALL_IN + ALL_OUT),
    "flylora": lambda n: RANK * ALL_OUT,  # A is frozen
    "zipper_static": lambda n: RANK * ALL_IN + (RANK // 2) * (1 + n) * ALL_OUT,
    "zipper_hard": lambda n: RANK * (ALL_IN + (1 + n) * ALL_OUT),
    "zipper_soft": lambda n: RANK * (ALL_IN + (1 + n) * ALL_OUT),
}
ROUTER = LAYERS * len(SHAPES) * RANK * (D_MODEL + 1)


@pytest.fixture(scope="module")
def encoder_side(full_config):
    """A function from (variant, number of languages) to the parts of the adaptation model; each is built once."""

    @functools.cache
    def build(variant: str, num_languages: int):
        codes = [f"l{number}" for number in range(num_languages)]
        return build_phases(full_config, variant, codes)[1]["sft"].parts

    return build


@pytest.mark.parametrize("variant", FORMULAS)
def test_encoder_lora_is_the_sum_over_its_layers(encoder_side, variant):
    parts = encoder_side(variant, 13)
    assert parts["encoder LoRA"].total == parts["encoder LoRA"].trained == FORMULAS[variant](13)
    assert parts["encoder router"].trained == (ROUTER if variant in {"zipper_hard", "zipper_soft"} else 0)


def test_without_encoder_lora_projector_and_llm_lora_are_trained(encoder_side):
    trained = {name for name, count in encoder_side("none", 13).items() if count.trained}
    assert trained == {"projector", "LLM LoRA"}


@pytest.mark.parametrize("count", [12, 13])
@pytest.mark.parametrize("variant", ["zipper_static", "zipper_hard", "zipper_soft"])
def test_zipper_is_smaller_than_independent(encoder_side, variant, count):
    zipper, independent = (encoder_side(name, count) for name in (variant, "independent"))
    total = zipper["encoder LoRA"].total + zipper["encoder router"].total
    assert total < independent["encoder LoRA"].total
    assert total > encoder_side("vanilla", count)["encoder LoRA"].total


def test_backbones_have_their_published_sizes(full_model):
    _, sizes = full_model
    llm = sizes["align"].parts["LLM"].total
    assert llm == pytest.approx(1.7e9, rel=0.02)  # Qwen3's model card: 1.7 B, 1.4 B without embeddings
    assert llm - 151_936 * 2048 == pytest.approx(1.4e9, rel=0.02)
    attention = 4 * D_MODEL**2 + 3 * D_MODEL  # keys have no bias
    layer = attention + 2 * D_MODEL * D_INNER + D_INNER + D_MODEL + 4 * D_MODEL
    convolutions = 3 * D_MODEL * (128 + D_MODEL) + 2 * D_MODEL
    assert sizes["align"].parts["encoder"].total == LAYERS * layer + convolutions + 1500 * D_MODEL + 2 * D_MODEL


def test_each_phase_trains_its_parts(full_model):
    _, sizes = full_model
    align, sft = (sizes[phase].parts for phase in ("align", "sft"))
    assert align["encoder"].trained == align["encoder"].total - 1500 * D_MODEL  # all except the positional embeddings
    assert sft["encoder"].trained == align["LLM"].trained == sft["LLM"].trained == 0
    for part in ("projector", "LLM LoRA"):
        assert align[part].trained == sft[part].trained == align[part].total > 0
    assert align["encoder LoRA"].total == 0


def test_banks_are_the_parameters_of_one_language(full_model):
    _, sizes = full_model
    assert sizes["align"].banks == 0
    assert sizes["sft"].banks == 2 * RANK * ALL_OUT  # B_spec of two languages


def test_table_ends_with_the_sum_of_its_parts(full_model):
    _, sizes = full_model
    header, *parts, total = parameter_rows(sizes)
    for column in range(1, len(header)):
        numbers = [int(row[column].replace(",", "")) for row in parts if row[column] != "-"]
        assert sum(numbers) == int(total[column].replace(",", ""))
