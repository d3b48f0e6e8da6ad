"""Adding banks to trained adapters: their initial values, and that other languages are bit-identical."""

from __future__ import annotations

import pytest
import torch

from tests.lora.toy import CODES, D_IN, D_LID, adapted_toy
from zipperasr.lora import VARIANTS
from zipperasr.lora.grow import BANK_STARTS, add_languages, nearest_language, start_bank, trained_languages

BANKED = [name for name, variant in VARIANTS.items() if variant.bank_starts]
NEW = torch.linspace(-1, 1, D_LID)[None]


def grown(variant: str):
    """A toy model with random factors in float32, before and after a language is added."""
    toys = [adapted_toy(variant) for _ in range(2)]
    for toy, _ in toys:
        toy.float()
    add_languages(toys[1][1], ["xx"], NEW)
    return toys


def output(toy, adapters, code: str) -> torch.Tensor:
    adapters.set_batch([code], [1])
    return toy(torch.randn(5, D_IN, generator=torch.Generator().manual_seed(9)))


@torch.no_grad()
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_outputs_of_all_other_languages_stay_bit_identical(variant):
    (old, old_adapters), (new, new_adapters) = grown(variant)
    assert new_adapters.language_codes == (*CODES, "xx") and new_adapters.own_codes == ("xx",)
    for code in CODES:
        assert torch.equal(output(old, old_adapters, code), output(new, new_adapters, code))


@torch.no_grad()
@pytest.mark.parametrize("variant", ["zipper_hard", "zipper_soft"])
def test_the_trained_router_reads_the_new_embedding(variant):
    _, (_, adapters) = grown(variant)
    normed = torch.nn.functional.layer_norm(NEW[0], NEW.shape[1:])
    expected = torch.sigmoid(adapters.router.weight @ normed + adapters.router.bias)
    torch.testing.assert_close(adapters.specific_shares()[:, -1], expected)


@torch.no_grad()
@pytest.mark.parametrize("variant", BANKED)
def test_a_bank_from_the_nearest_updates_weights_as_that_language_does(variant):
    _, (_, adapters) = grown(variant)
    if adapters.router is not None:  # the same p, so that only the banks can differ
        adapters.router.embeddings[-1] = adapters.router.embeddings[1]
    start_bank(adapters, "xx", CODES[1])
    for layer in adapters.layers.values():
        adapters.set_batch(["xx"], [1])
        assert torch.equal(layer.delta_weight(len(CODES)), layer.delta_weight(1))


@torch.no_grad()
@pytest.mark.parametrize("variant", ["zipper_hard", "zipper_soft"])
def test_a_bank_copied_from_the_shared_one_gives_the_shared_update_for_any_p(variant):
    _, (_, adapters) = grown(variant)
    start_bank(adapters, "xx", None)
    adapters.set_batch(["xx"], [1])
    for layer in adapters.layers.values():
        shared = layer.scaling * layer.b_shared @ layer.a
        torch.testing.assert_close(layer.delta_weight(len(CODES)), shared)


@torch.no_grad()
def test_a_zero_bank_adds_no_specific_update():
    _, (_, adapters) = grown("independent")
    for layer in adapters.layers.values():
        assert not layer.delta_weight(len(CODES)).any()
        assert layer.a_specific[-1].any()


def test_a_language_without_adaptation_is_recognised_by_its_zero_bank():
    _, (_, adapters) = grown("zipper_soft")
    with torch.no_grad():
        for layer in adapters.layers.values():
            layer.b_specific[1] = 0
    assert trained_languages(adapters) == [code for code in CODES if code != CODES[1]]


def test_the_nearest_language_has_the_largest_cosine():
    others = {"far": torch.tensor([9.0, 0.0]), "near": torch.tensor([0.1, 0.1])}
    code, cosine = nearest_language(torch.tensor([5.0, 4.0]), others)
    assert code == "near"
    assert cosine == pytest.approx(0.9939, abs=1e-4)


def test_without_a_trained_language_there_is_no_nearest():
    with pytest.raises(ValueError, match="no language of the model has a trained bank to copy; use --bank_from"):
        nearest_language(torch.ones(2), {})


def test_every_initialisation_of_a_variant_is_known():
    assert {start for variant in VARIANTS.values() for start in variant.bank_starts} == set(BANK_STARTS)
