"""Language embeddings that train with the router, instead of Whisper's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.model import tiny
from tests.model.test_experiment import aligned, finish  # noqa: F401
from zipperasr.batching.batch import collate
from zipperasr.lora.zipper_hard import ZipperHardOptions
from zipperasr.lora.zipper_soft import ZipperSoft
from zipperasr.model.experiment import Experiment, weights_digest
from zipperasr.model.experiment_model import build_for_training, load_model
from zipperasr.plan.parameters import build_phases
from zipperasr.train.continuation import Continuation, check_request
from zipperasr.train.engine import parameter_groups
from zipperasr.train.optim import LanguageAdamW
from zipperasr.train.train_config import TrainConfig

WIDTH = 6
NAME = "adapters.router.embeddings"


@pytest.fixture
def experiment(config, aligned) -> Experiment:  # noqa: F811
    options = {"zipper_soft": ZipperSoft.options_class(learned_embeddings=WIDTH)}
    model = replace(config, encoder_lora=config.encoder_lora.with_options(options))
    return Experiment("sft", "full", "zipper_soft", str(aligned[0]), tiny.CODES, 1, model)


@pytest.fixture
def trained(experiment, aligned) -> Path:  # noqa: F811
    model = build_for_training(experiment, torch.float32, seed=1)
    tiny.shake_adapters(model)
    finish(experiment, model, aligned[0].parent / "sft")
    return aligned[0].parent / "sft"


def step(model, languages: list[int]) -> None:
    """One step on German utterances."""
    batch = collate([[tiny.example("a", "de", 16_000, "ein Wort", 1)]])
    groups = parameter_groups(model, TrainConfig(epochs=1, precision="fp32"))
    optimiser = LanguageAdamW(groups, 0.01, (0.9, 0.95), len(model.adapters.language_codes))
    rows = {
        p: torch.arange(len(p))[:, None].expand(len(p), p[0].numel()) for g in groups if g["banks"] for p in g["params"]
    }
    optimiser.bank_of_element = {p: of.reshape(p.shape) for p, of in rows.items()}
    optimiser.set_present(languages)
    model(batch, 50)[0].backward()
    optimiser.step()


def test_only_the_embedding_of_a_language_in_the_batch_changes(experiment):
    model = build_for_training(experiment, torch.float32, seed=1)
    tiny.shake_adapters(model)
    before = model.adapters.router.embeddings.detach().clone()
    assert before.shape == (3, WIDTH) and dict(model.named_parameters())[NAME].requires_grad
    step(model, [0])
    after = model.adapters.router.embeddings
    assert torch.equal(after[1:], before[1:]) and not torch.isclose(after[0], before[0]).any()


@torch.no_grad()
def test_they_are_drawn_by_seed_and_reload(experiment, trained):
    first, again, other = (build_for_training(experiment, torch.float32, seed=seed) for seed in (1, 1, 2))
    table = first.adapters.router.embeddings
    assert torch.equal(table, again.adapters.router.embeddings)
    assert not torch.equal(table, other.adapters.router.embeddings)
    loaded, batch = load_model(trained), collate(tiny.two_packs())
    assert torch.equal(loaded.packed_logits(batch, 50), load_model(trained).packed_logits(batch, 50))
    assert isinstance(loaded.adapters.router.embeddings, torch.nn.Parameter)


def test_an_added_language_trains_its_own_and_leaves_the_others(trained):
    source = Experiment.load(trained)
    added = replace(
        source, init=None, languages=(*source.languages, "it"), init_from=str(trained), added=("it",),
        init_from_weights=weights_digest(trained), bank_from="shared", trained=("bank",),
    )  # fmt: skip
    model = build_for_training(added, torch.float32, seed=1)
    known, before = load_model(trained).adapters.router.embeddings, model.adapters.router.embeddings.detach().clone()
    assert torch.equal(before[:3], known) and before[3].any()
    trains = {name.rpartition(".")[2] for name, p in model.named_parameters() if p.requires_grad}
    assert trains == {"embeddings", "b_specific"}
    finish(added, model, trained.parent / "it")
    assert torch.equal(load_model(trained.parent / "it").adapters.router.embeddings, before)


def test_a_plan_counts_them(experiment):
    _, sizes = build_phases(experiment.model, "zipper_soft", tiny.CODES)
    plain = replace(experiment.model, encoder_lora=experiment.model.encoder_lora.with_options({}))
    plain = replace(plain, encoder_lora=replace(plain.encoder_lora, options={}))
    _, usual = build_phases(plain, "zipper_soft", tiny.CODES)
    layers, rank = 18, 4
    fewer = layers * rank * (tiny.D_ENCODER - WIDTH)  # weights of the router
    assert sizes["sft"].trained == usual["sft"].trained - fewer + len(tiny.CODES) * WIDTH


@pytest.mark.parametrize("width", [-1, 10**9])
def test_an_impossible_width_is_an_error(width):
    for options in (ZipperSoft.options_class, ZipperHardOptions):
        with pytest.raises(ValueError, match="learned_embeddings: got"):
            options(learned_embeddings=width)


def test_a_router_that_is_copied_brings_its_embeddings(experiment, trained):
    copied = replace(experiment, initial_b=str(trained), initial_parts=("b", "router"), seed=2)
    model = build_for_training(copied, torch.float32, seed=2)
    source = load_model(trained).adapters.router
    assert torch.equal(model.adapters.router.embeddings, source.embeddings)
    assert torch.equal(model.adapters.router.weight, source.weight)
    options = {"zipper_soft": ZipperSoft.options_class(learned_embeddings=WIDTH + 1)}
    other = replace(copied.model, encoder_lora=copied.model.encoder_lora.with_options(options))
    with pytest.raises(ValueError, match="learned_embeddings: got 7, but the router to copy has 6; set the same"):
        build_for_training(replace(copied, model=other), torch.float32, seed=2)


def test_nearest_needs_embeddings_to_compare(trained):
    new = Continuation(trained, ("it",))
    with pytest.raises(ValueError, match=r"--bank_from nearest: .* learns its language embeddings.*shared or zero"):
        check_request(new, tiny.table())
    assert check_request(replace(new, bank_from="shared"), tiny.table()).lora == "zipper_soft"


def test_the_option_is_written_only_if_it_is_set(experiment, config):
    """Trees, and with them the fingerprints of finished trainings, are those of earlier releases without it."""
    assert experiment.to_tree()["model"]["encoder_lora"]["zipper_soft"]["learned_embeddings"] == WIDTH
    usual = replace(experiment, model=config).to_tree()["model"]
    assert usual["encoder_lora"]["zipper_soft"] == {"router_affine": False} and "lid_whisper" not in usual
