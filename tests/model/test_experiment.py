"""A training directory becomes the same model again, through the chain backbones, alignment, SFT."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.model import tiny
from zipperasr.data.batches import collate
from zipperasr.lora import VARIANTS
from zipperasr.model.checkpoint import save_trained
from zipperasr.model.experiment import Experiment, build_for_training, load_model


def align_experiment(config) -> Experiment:
    return Experiment("align", "chunked", None, None, tiny.CODES, 1, config)


def finish(experiment, model, directory):
    """Leave what a finished training leaves."""
    directory.mkdir()
    experiment.save(directory)
    save_trained(model, directory / "model.safetensors")


@pytest.fixture
def aligned(config, tmp_path):
    """A trained Stage 1: its directory and its model."""
    experiment = align_experiment(config)
    model = build_for_training(experiment, torch.float32, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    finish(experiment, model, tmp_path / "align")
    return tmp_path / "align", model.eval()


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@torch.no_grad()
def test_alignment_then_sft_reloads_to_the_same_logits(config, aligned, variant):
    directory, align_model = aligned
    lid = tiny.lid_embeddings()
    experiment = Experiment("sft", "full", variant, str(directory), tiny.CODES, 1, config, lid)
    model = build_for_training(experiment, torch.float32, seed=1).eval()
    batch = collate(tiny.two_packs())
    torch.testing.assert_close(model.packed_logits(batch), align_model.packed_logits(batch))  # SFT starts from Stage 1
    tiny.shake_adapters(model)
    finish(experiment, model, directory.parent / "sft")
    reloaded = load_model(directory.parent / "sft").eval()
    assert torch.equal(reloaded.packed_logits(batch, 50), model.packed_logits(batch, 50))
    assert [n for n, p in reloaded.named_parameters() if p.requires_grad] == [
        n for n, p in model.named_parameters() if p.requires_grad
    ]


def test_the_seed_decides_the_adapters_start(config, aligned):
    directory, _ = aligned
    experiment = Experiment("sft", "full", "independent", str(directory), tiny.CODES, 1, config)
    starts = [build_for_training(experiment, torch.float32, seed).adapters for seed in (1, 1, 2)]
    a = [next(iter(adapters.layers.values())).a_specific for adapters in starts]
    assert torch.equal(a[0], a[1])
    assert not torch.equal(a[0], a[2])


def test_configuration_round_trips_through_yaml(config, tmp_path):
    config = replace(config, train_chunk_s=(0.5, 1.0), projector_dim=12)
    experiment = Experiment("sft", "full", "zipper_soft", "exp/align", tiny.CODES, 3, config, tiny.lid_embeddings())
    experiment.save(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert Experiment.load(tmp_path) == experiment
    assert Experiment.load(tmp_path).lid is None


def test_an_unfinished_training_is_an_error(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.yaml: no finished training here; run stage 5 \(align\)"):
        Experiment.load(tmp_path)
    align_experiment(config).save(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors: no finished training here"):
        load_model(tmp_path)


@torch.no_grad()
def test_a_model_loads_in_bfloat16_and_stays_close(config, aligned):
    directory, align_model = aligned
    experiment = Experiment("sft", "full", "zipper_soft", str(directory), tiny.CODES, 1, config, tiny.lid_embeddings())
    model = build_for_training(experiment, torch.float32, seed=1).eval()
    finish(experiment, model, directory.parent / "sft")
    rounded = load_model(directory.parent / "sft", torch.bfloat16).eval()
    assert {parameter.dtype for parameter in rounded.parameters()} == {torch.bfloat16}
    assert rounded.adapters.router.embeddings.dtype == torch.float32
    exact, close = (m(collate(tiny.two_packs()), 50)[1]["loss"] for m in (align_model, rounded))
    assert abs(exact - close) < 0.1
