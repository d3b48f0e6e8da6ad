"""Injecting a variant into a module: layers, languages and errors."""

from __future__ import annotations

import pytest
import torch

from tests.lora import reference
from tests.lora.toy import CODES, D_IN, D_LID, Toy, adapted_toy
from zipperasr.lora import VARIANTS
from zipperasr.lora.base import LanguageRows, LoraLinear
from zipperasr.lora.injection import inject
from zipperasr.lora.zipper_hard import ZipperHardOptions


def test_every_variant_has_a_reference_formula():
    assert {*reference.UPDATES, "flylora"} == set(VARIANTS)


def test_only_layers_that_match_a_pattern_are_adapted():
    toy = Toy()
    adapters = inject(toy, "vanilla", ["sec*"], CODES)
    assert list(adapters.layers) == ["second"]
    assert isinstance(toy.second, LoraLinear)
    assert type(toy.first) is torch.nn.Linear


def test_layers_keep_the_order_of_the_module_for_any_pattern():
    adapters = inject(Toy(), "vanilla", ["second", "first"], CODES)
    assert list(adapters.layers) == ["first", "second"]
    assert [layer.layer_index for layer in adapters.layers.values()] == [0, 1]


def test_adapters_do_not_register_the_layers_a_second_time():
    _, adapters = adapted_toy("zipper_soft")
    assert {name for name, _ in adapters.named_parameters()} == {"router.weight", "router.bias"}


def test_no_match_is_an_error():
    with pytest.raises(ValueError, match=r"no linear layer of Toy matches \['third'\]; nothing to adapt"):
        inject(Toy(), "vanilla", ["third"], CODES)


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown lora 'zippersoft'; did you mean 'zipper_soft'\? choose from"):
        inject(Toy(), "zippersoft", ["first"], CODES)


@pytest.mark.parametrize("embeddings", [None, torch.zeros(len(CODES) - 1, D_LID)])
@pytest.mark.parametrize("variant", ["zipper_soft", "zipper_hard"])
def test_a_routed_variant_needs_an_embedding_for_each_language(variant, embeddings):
    toy = Toy()
    with pytest.raises(ValueError, match=f"{variant} needs one LID embedding for each of 3 languages; run stage 4"):
        inject(toy, variant, ["first"], CODES, embeddings)
    assert type(toy.first) is torch.nn.Linear, "a failed injection must leave no adapter"


def test_options_of_another_variant_are_an_error():
    toy, embeddings, options = Toy(), torch.zeros(len(CODES), D_LID), ZipperHardOptions(tau=0.4)
    with pytest.raises(ValueError, match="flylora: got ZipperHardOptions, wanted FlyLoraOptions"):
        inject(toy, "flylora", ["first"], CODES, options=options)
    adapters = inject(toy, "zipper_hard", ["first"], CODES, embeddings, options=options)
    assert adapters.layers["first"].options.tau == 0.4


def test_language_outside_the_models_set_is_an_error():
    _, adapters = adapted_toy("vanilla")
    with pytest.raises(ValueError, match="language 'ko' has no adapter; choose from de, es, ja"):
        adapters.set_batch(["ko"], [1])


def test_rows_that_do_not_divide_over_the_spans_are_an_error():
    toy, adapters = adapted_toy("independent")
    adapters.set_batch(["de", "es"], [2, 1])
    with pytest.raises(ValueError, match=r"4 rows cannot be divided over language spans of \(2, 1\) rows"):
        toy(torch.zeros(4, D_IN, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"3 rows cannot be divided over language spans of \(0,\)"):
        LanguageRows(rows=(0,)).split(3)


def test_rows_may_be_counted_in_utterances_of_equal_length():
    assert LanguageRows(rows=(2, 1)).split(12) == [8, 4]


def test_routed_layer_before_the_router_ran_is_an_error():
    toy, _ = adapted_toy("zipper_soft")
    with pytest.raises(ValueError, match=r"the router has not run: call LanguageAdapters\.set_batch"):
        toy(torch.zeros(2, D_IN, dtype=torch.float64))


def test_adjacent_utterances_of_one_language_share_a_span():
    _, adapters = adapted_toy("vanilla")
    adapters.set_batch(["de", "de", "ja", "de"], [1, 2, 3, 4])
    assert adapters._rows.rows == (3, 3, 4)
    assert adapters._rows.banks.tolist() == [0, 2, 0]
