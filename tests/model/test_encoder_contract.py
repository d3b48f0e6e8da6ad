"""What every encoder must do: encode utterances independently, train, decode, and leave the toolkit and come back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModel

from tests.decode.conftest import utterances
from tests.model import tiny, tiny_encoders
from tests.model.finished_training import finished_training
from zipperasr.batching.batch import Example, collate
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.exchange.bundle import write_bundle
from zipperasr.exchange.merged_model import load_merged, write_merged
from zipperasr.exchange.peft_adapter import write_peft
from zipperasr.exchange.plain_lora import encoder_state
from zipperasr.exchange.pretrained import load_pretrained
from zipperasr.lid.embeddings import language_token_ids
from zipperasr.model.backbones import ENCODERS, find_encoder
from zipperasr.model.build import build_empty_model, build_model
from zipperasr.model.experiment import Experiment
from zipperasr.model.experiment_model import build_for_training
from zipperasr.model.model_config import ModelConfig
from zipperasr.plan.flops import Lengths, step_flops
from zipperasr.plan.parameters import count_parameters

__all__ = ["utterances"]

CHUNK_FRAMES = 40


@pytest.fixture(scope="module", params=list(tiny_encoders.SHAPES))
def shape(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def config(shape, backbones, tmp_path_factory) -> ModelConfig:
    directory = tmp_path_factory.mktemp("encoder") / shape
    mel_bins = tiny_encoders.write_encoder(shape, directory)
    return tiny.model_config(
        backbones, whisper=str(directory), mel_bins=mel_bins, lid_whisper=str(backbones / "whisper")
    )


@pytest.fixture(scope="module")
def model(config):
    return tiny.sft_model(config, "zipper_soft")


def with_features(model, examples: list[Example]) -> list[Example]:
    """The utterances with the features of this encoder."""
    return [
        dataclasses.replace(one, mel=model.encoder.frontend(tiny.noise(one.num_samples, seed)))
        for seed, one in enumerate(examples, 1)
    ]


def packs_for(model) -> list[list[Example]]:
    return [with_features(model, pack) for pack in tiny.two_packs()]


def test_every_family_has_a_shape_here():
    assert set(tiny_encoders.FAMILY.values()) == set(ENCODERS)


def test_every_linear_layer_of_the_blocks_is_adapted(shape, model, config):
    assert find_encoder(config.whisper)[0] is ENCODERS[tiny_encoders.FAMILY[shape]]
    inside = {
        name.removesuffix(".base")
        for layer in model.encoder.layers
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and any(module is part for part in layer.modules())
    }
    assert set(model.adapted_layers) == inside and len(inside) >= 18


@torch.no_grad()
def test_packed_logits_equal_those_of_each_utterance(model):
    packs = packs_for(model)
    for chunk_frames in (CHUNK_FRAMES, None):
        packed = model.packed_logits(collate(packs), chunk_frames)
        alone = [model.packed_logits(collate([[example]]), chunk_frames) for pack in packs for example in pack]
        torch.testing.assert_close(packed, torch.cat(alone), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_changing_one_utterance_changes_no_other(model):
    first, second, third = packs_for(model)[0]
    changed = dataclasses.replace(second, mel=second.mel + 1.0)
    before, after = (model.packed_logits(collate([[first, one, third]]), None) for one in (second, changed))
    start, length = first.positions, second.positions
    assert torch.equal(before[:start], after[:start])
    assert torch.equal(before[start + length :], after[start + length :])
    assert not torch.equal(before[start : start + length], after[start : start + length])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_loss_falls_in_each_precision(config, precision, checkpointing):
    config = dataclasses.replace(config, checkpointing=checkpointing)
    experiment = Experiment("align", "chunked", None, None, tiny.CODES, 1, config)
    model = build_for_training(experiment, precision, seed=1).train()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(trained.values(), lr=0.01)
    batch, losses = collate(packs_for(model)), []
    for _ in range(8):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision != torch.float32):
            loss, stats, weight = model(batch, CHUNK_FRAMES)
        (loss / weight).backward()
        assert not losses or all(p.grad is not None for p in trained.values())
        optimiser.step()
        optimiser.zero_grad()
        losses.append(stats["loss"].item())
    assert losses[-1] < losses[0] - 0.2


@torch.no_grad()
def test_compiled_layers_are_compiled_once_and_compute_the_same(config):
    model, graphs = tiny.align_model(config), []
    batches = [collate([[example]]) for pack in packs_for(model) for example in pack]
    wanted = [model.packed_logits(batch, CHUNK_FRAMES) for batch in batches]
    torch.compiler.reset()
    model.encoder.compile_layers(lambda graph, _: graphs.append(graph) or graph.forward)
    first = None
    for batch, logits in zip(batches, wanted, strict=True):
        torch.testing.assert_close(model.packed_logits(batch, CHUNK_FRAMES), logits, rtol=1e-4, atol=1e-4)
        first = first or len(graphs)
    assert first and len(graphs) <= 3 * first  # not once for every batch


@torch.no_grad()
def test_bf16_logits_are_close_to_fp32(config):
    exact = tiny.align_model(config)
    batch = collate(packs_for(exact))
    wanted = exact.packed_logits(batch, CHUNK_FRAMES)
    rounded = tiny.align_model(config).to(torch.bfloat16).packed_logits(batch, CHUNK_FRAMES)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - wanted).norm() < 0.1 * wanted.norm()


def test_a_text_does_not_depend_on_the_batch_nor_on_merging(model, utterances):
    decoder = Decoder(model, tiny.llm_tokenizer(), DecodeConfig(tokens_per_s=20.0, tokens_floor=8), CHUNK_FRAMES)
    examples = with_features(model, utterances)
    alone = {one.example.utt_id: one.text for one in decoder.run([[example] for example in examples])}  # merged
    mixed = {one.example.utt_id: one.text for one in decoder.run([examples])}  # three languages: not merged
    assert mixed == alone and len(set(alone.values())) > 8


@pytest.fixture(scope="module")
def training(config, tmp_path_factory) -> Path:
    return finished_training(config, tmp_path_factory.mktemp("exp"))


@torch.no_grad()
def test_a_bundle_and_a_merged_model_give_the_same_logits(training, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opened = load_pretrained(training)
    batch = collate([packs_for(opened.model)[0]])
    wanted = opened.model.packed_logits(batch, CHUNK_FRAMES)
    write_bundle(training, tmp_path / "model.zip")
    unpacked = load_pretrained(tmp_path / "model.zip")
    assert torch.equal(unpacked.model.packed_logits(batch, CHUNK_FRAMES), wanted)
    assert unpacked.experiment.model.lid_whisper is None  # not included
    write_merged(opened, "de", tmp_path / "merged")
    torch.testing.assert_close(
        load_merged(tmp_path / "merged").packed_logits(batch, CHUNK_FRAMES), wanted, rtol=1e-3, atol=1e-3
    )


@torch.no_grad()
def test_peft_loads_the_adapter_of_a_language(training, tmp_path):
    opened = load_pretrained(training)
    encoder = opened.model.encoder
    write_peft(opened, ["de"], tmp_path / "peft", str(tmp_path / "peft/base"))
    base = AutoModel.from_pretrained(tmp_path / "peft/base")
    loaded = PeftModel.from_pretrained(base, str(tmp_path / "peft/de")).merge_and_unload()
    prefix = encoder.whole_model_prefix
    found = {name.removeprefix(prefix): t for name, t in loaded.state_dict().items() if name.startswith(prefix)}
    for name, tensor in encoder_state(opened.model, "de").items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5)


def test_its_sizes_are_known_without_weights(config):
    empty, full = build_empty_model(config), build_model(config)
    assert count_parameters(empty).total == count_parameters(full).total
    assert step_flops(empty, "align", Lengths([50, 50], [30, 34], 20)).encoder > 0
    encoder, sizes = find_encoder(config.whisper)
    layers = dict(full.encoder.pretrained.named_modules())
    adapted = [layers[name.split(".", 2)[2]] for name in tiny.sft_model(config, "vanilla").adapted_layers]
    assert encoder.lora_inputs(sizes) == (sum(layer.in_features for layer in adapted), len(adapted))
    assert encoder.width_of(sizes) == full.encoder.width


def test_language_embeddings_come_from_it_or_from_another_whisper(shape, config):
    assert len(language_token_ids(config.languages_from, tiny.table())) == len(tiny.table())
    own = dataclasses.replace(config, lid_whisper=None).languages_from
    if shape in ("whisper.en", "w2v-bert-2.0"):
        with pytest.raises(
            ValueError, match=r"has no token <\|de\|>|no language embeddings for model_type wav2vec2-bert"
        ):
            language_token_ids(own, tiny.table().chosen(["de"]))
    else:
        assert len(language_token_ids(own, tiny.table())) == len(tiny.table())
