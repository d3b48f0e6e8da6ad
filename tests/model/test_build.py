"""Building a model from backbones, and the errors if they do not fit."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.model import tiny
from zipperasr.lora import VARIANTS
from zipperasr.model.backbones import load_tokenizer
from zipperasr.model.build import add_adapters, build_empty_model, build_model, set_trainable


@pytest.fixture
def broken(backbones, tmp_path):
    """A copy of the backbones, and a function that edits a part's weights."""
    shutil.copytree(backbones, tmp_path / "b")

    def change(part: str, edit) -> None:
        path = tmp_path / "b" / part / "model.safetensors"
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return tmp_path / "b", change


def test_loads_the_backbones_weights(config, backbones):
    model = build_model(config)
    whisper, llm = (load_file(backbones / part / "model.safetensors") for part in ("whisper", "llm"))
    assert torch.equal(model.encoder.whisper.conv1.weight, whisper["model.encoder.conv1.weight"])
    assert torch.equal(model.causal_lm.get_input_embeddings().weight, llm["model.embed_tokens.weight"])


def test_the_llm_has_lora_in_all_linear_layers_except_the_head(config):
    names = [name for name, _ in build_model(config).llm.named_parameters() if "lora_A" in name]
    assert len(names) == 2 * 7  # layers x (q k v o gate up down)
    assert not any("lm_head" in name for name in names)


def test_the_encoder_has_adapters_in_all_linear_layers(config):
    model = tiny.sft_model(config)
    linear = [n for n, m in build_model(config).encoder.whisper.named_modules() if isinstance(m, torch.nn.Linear)]
    assert list(model.adapters.layers) == linear
    assert len(linear) == 3 * 6  # layers x (q k v out fc1 fc2)


@pytest.mark.parametrize("part", ["whisper", "llm"])
def test_a_missing_local_backbone_is_an_error(backbones, part):
    config = tiny.model_config(backbones, **{part: "exp/no/such/model"})
    with pytest.raises(
        FileNotFoundError, match=r"exp/no/such/model: no model found \(config\.json is missing\); run stage 0"
    ):
        build_model(config)


def test_a_missing_tokenizer_directory_is_an_error(backbones):
    with pytest.raises(FileNotFoundError, match="run stage 0"):
        load_tokenizer("./nothing")


def test_another_number_of_mel_bins_is_an_error(backbones):
    with pytest.raises(ValueError, match=r"whisper: 8 mel bins, but model\.yaml has mel_bins: 80; correct it"):
        build_model(tiny.model_config(backbones, mel_bins=80))


def test_a_missing_tensor_is_named(broken):
    directory, change = broken
    change("whisper", lambda tensors: tensors.pop("model.encoder.layers.1.fc1.weight"))
    with pytest.raises(ValueError, match=r"do not fit WhisperEncoderOnly: missing encoder\.layers\.1\.fc1\.weight; "):
        build_model(tiny.model_config(directory))


def test_a_misshapen_tensor_is_named(broken):
    directory, change = broken
    change("llm", lambda tensors: tensors.update({"model.norm.weight": torch.ones(3)}))
    with pytest.raises(ValueError, match=r"do not fit Qwen3ForCausalLM: .*misshapen model\.norm\.weight"):
        build_model(tiny.model_config(directory))


def test_unexpected_tensors_are_named(broken):
    directory, _ = broken
    path = directory / "llm" / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "num_hidden_layers": 1, "layer_types": settings["layer_types"][:1]}))
    with pytest.raises(ValueError, match=r"do not fit Qwen3ForCausalLM: .*unexpected .*model\.layers\.1"):
        build_model(tiny.model_config(directory))


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_the_empty_model_has_the_same_parameters_without_weights(config, variant):
    full, empty = tiny.sft_model(config, variant), build_empty_model(config)
    lid = torch.zeros(len(tiny.CODES), 10, device="meta")
    add_adapters(empty, config, variant, tiny.CODES, lid)
    set_trainable(empty, "sft")
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    for (name, one), (other_name, other) in zip(full.named_parameters(), empty.named_parameters(), strict=True):
        assert (name, one.shape, one.requires_grad) == (other_name, other.shape, other.requires_grad)
