"""The router whose LayerNorm has gain and bias: equation, initialisation, added languages, saving."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.lora.toy import CODES, D_LID, RANK
from tests.model import tiny
from tests.model.conftest import backbones, config
from tests.model.test_experiment import aligned, finish
from zipperasr.batching.batch import collate
from zipperasr.exchange.fit import Wanted
from zipperasr.lora.grow import add_languages
from zipperasr.lora.router import Router
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import build_for_training, load_model

__all__ = ["aligned", "backbones", "config"]
LAYERS = 3


def affine_router(trained: bool = True) -> Router:
    torch.manual_seed(1)
    router = Router(torch.randn(len(CODES), D_LID) * 3 + 1, LAYERS, RANK, affine=True)
    if trained:
        for parameter in router.parameters():
            nn.init.normal_(parameter)
    return router


def by_torch_modules(router: Router) -> torch.Tensor:
    """p from one LayerNorm and one Linear per layer in float64: (layers, languages, rank)."""
    p = []
    for index in range(LAYERS):
        norm, linear = nn.LayerNorm(D_LID).double(), nn.Linear(D_LID, RANK).double()
        with torch.no_grad():
            norm.weight.copy_(router.norm_weight[index])
            norm.bias.copy_(router.norm_bias[index])
            linear.weight.copy_(router.weight[index])
            linear.bias.copy_(router.bias[index])
        p.append(torch.sigmoid(linear(norm(router.embeddings.double()))))
    return torch.stack(p)


def test_every_layer_has_its_own_layer_norm():
    router = affine_router()
    torch.testing.assert_close(router().double(), by_torch_modules(router), rtol=1e-5, atol=1e-6)


def test_it_computes_in_float32_from_bfloat16_parameters():
    router = affine_router()
    for parameter in router.parameters():
        parameter.data = parameter.data.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        p = router()
    assert p.dtype == torch.float32
    torch.testing.assert_close(p.double(), by_torch_modules(router), rtol=1e-5, atol=1e-6)


def test_it_starts_as_the_router_without_gain_and_bias():
    torch.manual_seed(1)
    plain = Router(torch.randn(len(CODES), D_LID) * 3 + 1, LAYERS, RANK)
    torch.testing.assert_close(affine_router(trained=False)(), plain())
    assert {name for name, _ in plain.named_parameters()} == {"weight", "bias"}


def test_gain_and_bias_get_gradients():
    router = affine_router()
    router().square().sum().backward()
    for name, parameter in router.named_parameters():
        assert parameter.grad is not None and parameter.grad.flatten(1).any(1).all(), name


def affine(config):
    """The model's configuration with router_affine."""
    options = {
        name: replace(config.encoder_lora.of(name), router_affine=True) for name in ("zipper_soft", "zipper_hard")
    }
    return replace(config, encoder_lora=config.encoder_lora.with_options(options))


def trained(config, directory, variant: str = "zipper_soft", **more) -> Experiment:
    """Write <directory's parent>/sft with random parameters; returns its experiment."""
    lid = tiny.lid_embeddings()
    experiment = Experiment("sft", "full", variant, str(directory), tiny.CODES, 1, affine(config), lid=lid, **more)
    model = build_for_training(experiment, torch.float32, seed=1)
    tiny.shake_adapters(model)
    finish(experiment, model, directory.parent / f"sft_{variant}")
    return experiment


@pytest.mark.parametrize("variant", ["zipper_hard", "zipper_soft"])
@torch.no_grad()
def test_it_is_saved_and_loaded(config, aligned, variant):
    experiment = trained(config, aligned[0], variant)
    directory = aligned[0].parent / f"sft_{variant}"
    assert Experiment.load(directory).model.encoder_lora.of(variant).router_affine
    model, batch = load_model(directory).eval(), collate(tiny.two_packs())
    before = model.packed_logits(batch, 50)
    assert torch.equal(load_model(directory).eval().packed_logits(batch, 50), before)
    model.adapters.router.norm_weight.mul_(0.5)
    assert not torch.equal(model.packed_logits(batch, 50), before)
    names = {f"adapters.router.{name}" for name in ("weight", "bias", "norm_weight", "norm_bias")}
    wanted = Wanted(model)
    assert names < set(wanted.tensors)
    assert all(wanted.keys(name) == tuple(model.adapters.layers) for name in names)
    assert experiment.model.encoder_lora.of(variant).router_affine


@torch.no_grad()
def test_an_added_language_uses_gain_and_bias_and_leaves_other_languages_p(config, aligned):
    trained(config, aligned[0])
    model = load_model(aligned[0].parent / "sft_zipper_soft")
    before = model.adapters.specific_shares()
    new = torch.linspace(-1, 1, tiny.lid_embeddings().shape[1])[None]
    add_languages(model.adapters, ["xx"], new)
    after = model.adapters.specific_shares()
    assert torch.equal(after[:, :-1], before)
    router = model.adapters.router
    normed = nn.functional.layer_norm(new[0], new.shape[1:]) * router.norm_weight + router.norm_bias
    expected = torch.sigmoid((router.weight * normed[:, None]).sum(-1) + router.bias)
    torch.testing.assert_close(after[:, -1], expected)


def test_initial_b_with_the_router_copies_gain_and_bias(config, aligned):
    trained(config, aligned[0])
    soft, lid = str(aligned[0].parent / "sft_zipper_soft"), tiny.lid_embeddings()
    warm = Experiment(
        "sft", "full", "zipper_soft", str(aligned[0]), tiny.CODES, 1, affine(config), soft, ("b", "router"), lid
    )
    source = load_model(aligned[0].parent / "sft_zipper_soft").adapters.router
    router = build_for_training(warm, torch.float32, seed=5).adapters.router
    for name, parameter in router.named_parameters():
        assert torch.equal(parameter, getattr(source, name)), name


def test_initial_b_from_a_router_without_gain_and_bias_is_an_error(config, aligned):
    lid = tiny.lid_embeddings()
    plain = Experiment("sft", "full", "zipper_soft", str(aligned[0]), tiny.CODES, 1, config, lid=lid)
    finish(plain, build_for_training(plain, torch.float32, seed=1), aligned[0].parent / "plain")
    source = str(aligned[0].parent / "plain")
    warm = replace(plain, model=affine(config), initial_b=source, initial_parts=("router",))
    with pytest.raises(ValueError, match=r"missing adapters\.router\.norm_bias, adapters\.router\.norm_weight"):
        build_for_training(warm, torch.float32, seed=5)
