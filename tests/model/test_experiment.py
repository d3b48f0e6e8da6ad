"""Loading a training directory gives the same model, through the chain of backbones, alignment and adaptation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.model import tiny
from zipperasr.batching.batch import collate
from zipperasr.lora import NO_LORA, VARIANTS
from zipperasr.lora.zipper_hard import ZipperHardOptions
from zipperasr.model.checkpoint import save_trained
from zipperasr.model.experiment import Experiment, weights_digest
from zipperasr.model.experiment_model import build_for_training, load_model


def align_experiment(config) -> Experiment:
    return Experiment("align", "chunked", None, None, tiny.CODES, 1, config)


def finish(experiment, model, directory):
    """Write the output of a finished training."""
    directory.mkdir()
    experiment.save(directory)
    save_trained(model, directory / "model.safetensors")


@pytest.fixture
def aligned(config, tmp_path):
    """A trained alignment: its directory and model."""
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
    experiment = Experiment("sft", "full", variant, str(directory), tiny.CODES, 1, config, lid=lid)
    model = build_for_training(experiment, torch.float32, seed=1).eval()
    batch = collate(tiny.two_packs())
    torch.testing.assert_close(
        model.packed_logits(batch), align_model.packed_logits(batch)
    )  # adaptation starts from the alignment
    tiny.shake_adapters(model)
    finish(experiment, model, directory.parent / "sft")
    reloaded = load_model(directory.parent / "sft").eval()
    assert torch.equal(reloaded.packed_logits(batch, 50), model.packed_logits(batch, 50))
    assert [n for n, p in reloaded.named_parameters() if p.requires_grad] == [
        n for n, p in model.named_parameters() if p.requires_grad
    ]


@torch.no_grad()
def test_an_adaptation_without_encoder_lora_trains_projector_and_llm_lora_alone(config, aligned):
    directory, align_model = aligned
    experiment = Experiment("sft", "full", NO_LORA, str(directory), tiny.CODES, 1, config)
    model = build_for_training(experiment, torch.float32, seed=1)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"projector", "llm"}
    assert model.adapters is None
    for name, parameter in model.named_parameters():
        if name in trained:
            parameter.add_(0.1)
    finish(experiment, model, directory.parent / "none")
    reloaded = load_model(directory.parent / "none").eval()
    batch = collate(tiny.two_packs())
    assert torch.equal(reloaded.packed_logits(batch), model.eval().packed_logits(batch))
    encoder = align_model.encoder.state_dict()
    assert all(torch.equal(tensor, encoder[name]) for name, tensor in reloaded.encoder.state_dict().items())
    padded = build_for_training(replace(experiment, model=replace(config, pad_to_30s=True)), torch.float32, seed=1)
    assert padded.encoder.pad_to_30s and not model.encoder.pad_to_30s  # as with a variant, model.yaml decides again


def test_initial_b_needs_encoder_lora(config, aligned):
    soft = soft_run(config, aligned[0])
    with pytest.raises(ValueError, match="Initial-B cannot initialise none from zipper_soft; it can initialise"):
        build_for_training(initial_b(config, aligned[0], NO_LORA, soft, "b"), torch.float32, seed=1)


def test_the_seed_determines_the_initial_adapters(config, aligned):
    directory, _ = aligned
    experiment = Experiment("sft", "full", "independent", str(directory), tiny.CODES, 1, config)
    starts = [build_for_training(experiment, torch.float32, seed).adapters for seed in (1, 1, 2)]
    a = [next(iter(adapters.layers.values())).a_specific for adapters in starts]
    assert torch.equal(a[0], a[1])
    assert not torch.equal(a[0], a[2])


def soft_run(config, align_directory) -> str:
    """The directory of a finished zipper_soft training."""
    experiment = Experiment(
        "sft", "full", "zipper_soft", str(align_directory), tiny.CODES, 1, config, lid=tiny.lid_embeddings()
    )
    model = build_for_training(experiment, torch.float32, seed=1)
    tiny.shake_adapters(model)
    finish(experiment, model, align_directory.parent / "soft")
    return str(align_directory.parent / "soft")


def initial_b(config, align_directory, variant, soft, *parts) -> Experiment:
    return Experiment(
        "sft", "full", variant, str(align_directory), tiny.CODES, 1, config, soft, parts, tiny.lid_embeddings()
    )


@pytest.mark.parametrize("parts", [("b",), ("b", "router"), ("b", "a", "router")])
def test_initial_b_copies_only_the_requested_parts(config, aligned, parts):
    soft = soft_run(config, aligned[0])
    source = dict(load_model(Path(soft)).named_parameters())
    cold = Experiment("sft", "full", "zipper_soft", str(aligned[0]), tiny.CODES, 1, config, lid=tiny.lid_embeddings())
    start = dict(build_for_training(cold, torch.float32, seed=5).named_parameters())
    warm = build_for_training(initial_b(config, aligned[0], "zipper_soft", soft, *parts), torch.float32, seed=5)
    taken = {"b": ("b_shared", "b_specific"), "a": ("a",), "router": ("weight", "bias")}
    names = {name for part in parts for name in taken[part]}
    for name, parameter in warm.named_parameters():
        part, _, last = name.rpartition(".")
        from_soft = last in names and (name.startswith("adapters.router") or (".base" not in part and last[0] in "ab"))
        from_soft = from_soft and (name.startswith("adapters.router") == (last in ("weight", "bias")))
        assert torch.equal(parameter, source[name] if from_soft else start[name]), name
    assert not all(torch.equal(source[name], start[name]) for name in start if name.endswith(".b_specific"))


def test_initial_b_needs_a_zipper_soft_training_and_a_variant_with_both_banks(config, aligned):
    soft = soft_run(config, aligned[0])
    with pytest.raises(
        ValueError,
        match="cannot initialise vanilla from zipper_soft; it can initialise zipper_hard from zipper_soft, zipper_soft",
    ):
        build_for_training(initial_b(config, aligned[0], "vanilla", soft, "b"), torch.float32, seed=1)
    with pytest.raises(ValueError, match="cannot initialise zipper_soft from an alignment"):
        experiment = initial_b(config, aligned[0], "zipper_soft", str(aligned[0]), "b")
        build_for_training(experiment, torch.float32, seed=1)


@pytest.mark.parametrize("parts", [("b", "router"), ("all",)])
def test_initial_b_with_the_router_needs_the_same_meaning_of_p(config, aligned, parts):
    soft = soft_run(config, aligned[0])
    with pytest.raises(ValueError, match=r"set encoder_lora\.zipper_hard\.p_selects_shared: false in model\.yaml"):
        build_for_training(initial_b(config, aligned[0], "zipper_hard", soft, *parts), torch.float32, seed=1)
    options = {"zipper_hard": ZipperHardOptions(p_selects_shared=False)}
    turned = replace(config, encoder_lora=config.encoder_lora.with_options(options))
    experiment = initial_b(turned, aligned[0], "zipper_hard", soft, *parts)
    model = build_for_training(experiment, torch.float32, seed=1)
    assert not any(layer.options.p_selects_shared for layer in model.adapters.layers.values())


def test_configuration_round_trips_through_yaml(config, tmp_path):
    config = replace(config, train_chunk_s=(0.5, 1.0), projector_dim=12)
    experiment = Experiment("sft", "full", "zipper_soft", "exp/align", tiny.CODES, 3, config, lid=tiny.lid_embeddings())
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
    lid = tiny.lid_embeddings()
    experiment = Experiment("sft", "full", "zipper_soft", str(directory), tiny.CODES, 1, config, lid=lid)
    model = build_for_training(experiment, torch.float32, seed=1).eval()
    finish(experiment, model, directory.parent / "sft")
    rounded = load_model(directory.parent / "sft", torch.bfloat16).eval()
    assert {parameter.dtype for parameter in rounded.parameters()} == {torch.bfloat16}
    assert rounded.adapters.router.embeddings.dtype == torch.float32
    exact, close = (m(collate(tiny.two_packs()), 50)[1]["loss"] for m in (align_model, rounded))
    assert abs(exact - close) < 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("variant", [None, *sorted(VARIANTS)])
def test_frozen_weights_have_the_training_precision_and_trained_ones_are_exact(config, aligned, variant, dtype):
    experiment = align_experiment(config)
    if variant is not None:
        lid = tiny.lid_embeddings()
        experiment = Experiment("sft", "full", variant, str(aligned[0]), tiny.CODES, 1, config, lid=lid)
    models = []
    for precision in (torch.float32, dtype):
        torch.manual_seed(7)
        models.append(build_for_training(experiment, precision, seed=1))
    exact, half = (dict(model.named_parameters()) for model in models)
    assert {parameter.dtype for parameter in half.values() if not parameter.requires_grad} == {dtype}
    assert {parameter.dtype for parameter in half.values() if parameter.requires_grad} == {torch.float32}
    for name, parameter in half.items():
        # PEFT rounds the initial A to the precision of its layer; the projector is scaled to the LLM's embeddings
        drawn = variant is None and ("lora_A" in name or name == "projector.out.weight")
        if parameter.requires_grad and not drawn:
            assert torch.equal(parameter, exact[name]), name
        elif not drawn:
            assert torch.equal(parameter, exact[name].to(dtype)), name


def test_a_language_is_added_in_float32_to_a_model_in_half_precision(config, aligned):
    soft = soft_run(config, aligned[0])
    lid = torch.cat([tiny.lid_embeddings(), torch.randn(1, 10)])
    experiment = Experiment(
        "sft", "full", "zipper_soft", str(aligned[0]), (*tiny.CODES, "it"), 1, config, lid=lid, init_from=soft,
        init_from_weights=weights_digest(soft), added=("it",), bank_from="nearest", trained=("bank",),
    )  # fmt: skip
    model, exact = (build_for_training(experiment, dtype, seed=1) for dtype in (torch.bfloat16, torch.float32))
    wanted = dict(exact.named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == name.endswith("b_specific")
        assert torch.equal(parameter, wanted[name].to(parameter.dtype))
        assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16)


def test_a_training_does_not_depend_on_other_variants_options(config, tmp_path):
    options = {"zipper_hard": ZipperHardOptions(tau=0.9)}
    other = replace(config, encoder_lora=config.encoder_lora.with_options(options))
    for lora in (None, "zipper_soft"):
        ours, theirs = (replace(align_experiment(one), lora=lora) for one in (config, other))
        assert ours.to_tree() == theirs.to_tree()
    hard = replace(align_experiment(other), lora="zipper_hard")
    hard.save(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert Experiment.load(tmp_path).model.encoder_lora.of("zipper_hard").tau == 0.9
