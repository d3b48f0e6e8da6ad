"""Languages added one by one to a trained model: initialisation, embeddings, reloading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.model import tiny
from tests.model.test_experiment import aligned, finish  # noqa: F401
from zipperasr.batching.batch import collate
from zipperasr.lora.grow import nearest_language
from zipperasr.model.experiment import Experiment, weights_digest
from zipperasr.model.experiment_model import build_for_training, load_model
from zipperasr.model.new_language import check_embeddings
from zipperasr.model.trained_parts import part_of


def embeddings(count: int) -> torch.Tensor:
    more = torch.randn(2, 10, generator=torch.Generator().manual_seed(6))
    return torch.cat([tiny.lid_embeddings(), more])[:count]


@pytest.fixture
def soft(config, aligned) -> Path:  # noqa: F811
    """A trained zipper_soft model for de, es, ja; ja had no data."""
    directory, _ = aligned
    experiment = Experiment("sft", "full", "zipper_soft", str(directory), tiny.CODES, 1, config, lid=embeddings(3))
    model = build_for_training(experiment, torch.float32, seed=1)
    tiny.shake_adapters(model)
    with torch.no_grad():
        for layer in model.adapters.layers.values():
            layer.b_specific[2] = 0
    finish(experiment, model, directory.parent / "soft")
    return directory.parent / "soft"


def addition(source: Path, code: str, **changes) -> Experiment:
    """The Experiment that adds one language to `source`."""
    experiment = Experiment.load(source)
    languages = (*experiment.languages, code)
    settings = {
        "init": None, "languages": languages, "init_from": str(source), "init_from_weights": weights_digest(source),
        "added": (code,), "bank_from": "nearest", "trained": ("bank",), "lid": embeddings(len(languages)),
    }  # fmt: skip
    return replace(experiment, **{**settings, **changes})


def banks(model) -> torch.Tensor:
    """The given language's parameters as (layers, languages, elements)."""
    return torch.stack([layer.b_specific.flatten(1)[:, :32] for layer in model.adapters.layers.values()])


def test_the_nearest_is_a_language_with_a_trained_bank(soft, capsys):
    model = build_for_training(addition(soft, "it"), torch.float32, seed=1)
    lid = embeddings(4)
    expected, cosine = nearest_language(lid[3], {"de": lid[0], "es": lid[1]})
    assert torch.equal(banks(model)[:, 3], banks(model)[:, tiny.CODES.index(expected)])
    assert (
        f"bank initialised from {expected}, the nearest LID embedding (cosine {cosine:.3f})" in capsys.readouterr().err
    )


def test_the_other_initialisations(soft):
    zero, shared = (
        build_for_training(addition(soft, "it", bank_from=start), torch.float32, seed=1) for start in ("zero", "shared")
    )
    assert not banks(zero)[:, 3].any()
    for layer in shared.adapters.layers.values():
        assert torch.equal(layer.b_specific[3], layer.b_shared)


@torch.no_grad()
def test_a_second_language_can_be_added(soft):
    directory, batch = soft, collate(tiny.two_packs())
    wanted = load_model(soft).eval().packed_logits(batch, 50)
    for code in ("it", "fr"):
        experiment = addition(directory, code)
        model = build_for_training(experiment, torch.float32, seed=1)
        for layer in model.adapters.layers.values():
            layer.b_specific[-1].normal_()
        directory = directory.parent / code
        finish(experiment, model, directory)
        assert torch.equal(load_model(directory).eval().packed_logits(batch, 50), wanted)
        assert torch.equal(banks(load_model(directory)), banks(model))
        assert torch.equal(load_model(directory).adapters.specific_shares(), model.adapters.specific_shares())
    assert load_model(directory).adapters.language_codes == (*tiny.CODES, "it", "fr")


@torch.no_grad()
def test_a_language_with_a_projector_of_its_own_leaves_all_others_bit_identical(soft):
    directory, batch = soft, collate(tiny.two_packs())
    wanted = load_model(soft).eval().packed_logits(batch, 50)
    for code, parts in (("it", ("bank", "own_projector")), ("fr", ("bank",))):
        model = build_for_training(addition(directory, code, trained=parts), torch.float32, seed=1)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                where = parameter[-1:] if name.endswith("b_specific") else parameter
                where.add_(torch.randn_like(where))
        finish(addition(directory, code, trained=parts), model, directory.parent / code)
        directory = directory.parent / code
        assert torch.equal(load_model(directory).eval().packed_logits(batch, 50), wanted)
    last, trained = load_model(directory), load_model(soft.parent / "it").projector.of("it").state_dict()
    assert all(torch.equal(last.projector.of("it").state_dict()[name], weight) for name, weight in trained.items())
    assert not torch.equal(trained["out.weight"], last.projector.out.weight)
    assert last.projector.of("fr") is last.projector


def test_the_new_language_alone_trains_its_projector(soft):
    first = addition(soft, "it", trained=("bank", "own_projector"))
    finish(first, build_for_training(first, torch.float32, seed=1), soft.parent / "it")
    second = addition(soft.parent / "it", "fr", trained=("bank", "own_projector"))
    model = build_for_training(second, torch.float32, seed=1)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {part_of(name) for name in trained} == {"bank", "own_projector"}
    assert {name.split(".")[2] for name in trained if part_of(name) == "own_projector"} == {"for_fr"}


def test_fine_tuning_the_projector_includes_the_languages_own(soft):
    experiment = addition(soft, "it", trained=("bank", "own_projector"))
    finish(experiment, build_for_training(experiment, torch.float32, seed=1), soft.parent / "it")
    source = {"init_from": str(soft.parent / "it"), "init_from_weights": weights_digest(soft.parent / "it")}
    for parts, wanted in ((("bank",), set()), (("bank", "projector"), {"projector", "own_projector"})):
        tuned = replace(experiment, added=(), bank_from=None, trained=parts, lid=None, **source)
        model = build_for_training(tuned, torch.float32, seed=1)
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        assert {part_of(name) for name in names} - {"bank"} == wanted


def test_only_the_requested_parts_are_trained(soft):
    model = build_for_training(addition(soft, "it", trained=("bank", "router", "projector")), torch.float32, seed=1)
    trains = {part_of(name) for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trains == {"bank", "router", "projector"}
    whole = build_for_training(addition(soft, "it", trained=("bank", "shared", "llm")), torch.float32, seed=1)
    names = [name for name, parameter in whole.named_parameters() if parameter.requires_grad]
    assert {part_of(name) for name in names} == {"bank", "shared", "llm"}
    assert {name.rpartition(".")[2] for name in names if part_of(name) == "shared"} == {"a", "b_shared"}
    assert all("lora_" in name for name in names if part_of(name) == "llm")


def test_the_model_keeps_its_embeddings_and_reports_differences_from_stage_4(soft, capsys):
    model, lid = load_model(soft), embeddings(3)
    check_embeddings(model, lid, "exp/lid")
    assert capsys.readouterr().err == ""
    check_embeddings(model, lid + 1e-5, "exp/lid")
    assert "exp/lid: stage 4's LID embeddings differ by up to 1.0e-05 from the model's, which are kept" in (
        capsys.readouterr().err
    )
    assert torch.equal(model.adapters.router.embeddings, lid)


@pytest.mark.parametrize("other", [-embeddings(3), embeddings(3)[:, :9]])
def test_embeddings_of_another_kind_are_rejected(soft, other):
    with pytest.raises(ValueError, match="stage 4's LID embeddings are not those of the model's training; use"):
        check_embeddings(load_model(soft), other, "exp/lid")
