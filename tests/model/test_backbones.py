"""Only the required part of a checkpoint is loaded, strictly, from every format that transformers reads."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3ForCausalLM, WhisperForConditionalGeneration, WhisperModel

from tests.model import tiny
from zipperasr.model.backbone_files import load_backbone
from zipperasr.model.backbones import ENCODERS, LLMS
from zipperasr.model.backbones.qwen3 import Qwen3
from zipperasr.model.backbones.whisper import WHISPER_SIZES, WhisperEncoderOnly, WhisperSpeechEncoder
from zipperasr.model.backbones.whisper_languages import WhisperTokenEmbedding
from zipperasr.model.build import assemble, build_model

FORMATS = ["safetensors", "sharded", "bin", "sharded_bin", "base_model"]


def as_format(backbones: Path, target: Path, form: str) -> str:
    """The tiny Whisper in the given format of a Hugging Face repository."""
    model = WhisperForConditionalGeneration.from_pretrained(backbones / "whisper")
    if form == "base_model":  # keys without the leading "model."
        model.model.save_pretrained(target)
    elif form.startswith("sharded"):
        model.save_pretrained(target, max_shard_size="8KB")
    else:
        model.save_pretrained(target)
    if form.endswith("bin"):
        _to_bin(target)
    return str(target)


def _to_bin(directory: Path) -> None:
    for path in directory.glob("*.safetensors"):
        name = path.name.replace("model", "pytorch_model").replace("safetensors", "bin")
        torch.save(load_file(path), directory / name)
        path.unlink()
    index = directory / "model.safetensors.index.json"
    if index.exists():
        text = index.read_text().replace("model-", "pytorch_model-").replace("safetensors", "bin")
        (directory / "pytorch_model.bin.index.json").write_text(text)
        index.unlink()


@pytest.mark.parametrize("form", FORMATS)
def test_the_encoder_is_loaded_from_every_format(backbones, tmp_path, form):
    path = as_format(backbones, tmp_path / "w", form)
    found = load_backbone(WhisperEncoderOnly, path, torch.float32, WHISPER_SIZES)
    wanted = WhisperModel.from_pretrained(path).encoder.state_dict()
    assert {name.split(".")[0] for name, _ in found.named_parameters()} == {"encoder"}
    assert found.encoder.state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.encoder.state_dict().items())
    embedding = load_backbone(WhisperTokenEmbedding, path, torch.float32, WHISPER_SIZES)
    (only,) = embedding.parameters()
    assert torch.equal(only, WhisperModel.from_pretrained(path).decoder.embed_tokens.weight)


def test_a_hub_id_is_found_in_the_cache(backbones, tmp_path, monkeypatch):
    commit = "0" * 40
    repository = tmp_path / "models--openai--whisper-tiny-random"
    shutil.copytree(backbones / "whisper", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub.is_offline_mode", lambda: True)
    found = load_backbone(WhisperEncoderOnly, "openai/whisper-tiny-random", torch.float32, WHISPER_SIZES)
    wanted = load_backbone(WhisperModel, str(backbones / "whisper"), torch.float32, WHISPER_SIZES).encoder
    assert torch.equal(found.encoder.conv1.weight, wanted.conv1.weight)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensors: tensors.pop("model.encoder.layers.1.fc1.weight"), r"missing encoder\.layers\.1\.fc1\.weight"),
        (lambda tensors: tensors.update({"model.encoder.conv3.bias": torch.ones(3)}), r"unexpected .*conv3\.bias"),
        (lambda tensors: tensors.update({"extra.weight": torch.ones(3)}), r"unexpected extra\.weight"),
        (
            lambda tensors: tensors.update({"model.encoder.conv1.bias": torch.ones(3)}),
            r"misshapen encoder\.conv1\.bias",
        ),
    ],
)
def test_mismatched_tensors_are_named(backbones, tmp_path, edit, message):
    path = Path(as_format(backbones, tmp_path / "w", "safetensors"))
    tensors = load_file(path / "model.safetensors")
    edit(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"do not fit WhisperEncoderOnly: .*{message}"):
        load_backbone(WhisperEncoderOnly, str(path), torch.float32, WHISPER_SIZES)


def test_training_and_decoding_need_no_decoder_in_the_checkpoint(backbones, tmp_path):
    shutil.copytree(backbones, tmp_path / "b")
    path = tmp_path / "b" / "whisper" / "model.safetensors"
    encoder = {name: tensor for name, tensor in load_file(path).items() if ".encoder." in name}
    save_file(encoder, path, metadata={"format": "pt"})
    model = build_model(tiny.model_config(tmp_path / "b"))
    assert torch.equal(model.encoder.whisper.conv2.weight, encoder["model.encoder.conv2.weight"])


def test_the_model_has_no_decoder_and_loading_draws_the_same_random_numbers(config):
    """A seed gives the same model whether the complete Whisper or only its encoder is built."""
    torch.manual_seed(1)
    whisper = WhisperModel.from_pretrained(config.whisper, dtype=torch.float32)
    expected = assemble(
        config,
        WhisperSpeechEncoder(whisper.encoder),
        Qwen3ForCausalLM.from_pretrained(config.llm, dtype=torch.float32),
    )
    state = torch.get_rng_state()
    torch.manual_seed(1)
    model = build_model(config)
    assert torch.equal(torch.get_rng_state(), state)
    wanted = expected.state_dict()
    assert model.state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


def test_weights_in_the_requested_precision_stay_memory_mapped(backbones, tmp_path):
    """Ranks on one machine then share the memory of the frozen LLM."""
    Qwen3ForCausalLM.from_pretrained(backbones / "llm", dtype=torch.bfloat16).save_pretrained(tmp_path / "llm")
    llm = load_backbone(Qwen3ForCausalLM, str(tmp_path / "llm"), torch.bfloat16, Qwen3.size_rules)
    address = llm.model.layers[1].mlp.up_proj.weight.data_ptr()
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [(*(int(end, 16) for end in line[0].split("-")), line[-1]) for line in maps]
    (file,) = [name for start, end, name in spans if start <= address < end]
    assert file == str((tmp_path / "llm" / "model.safetensors").resolve())


def test_writing_to_a_mapped_weight_does_not_change_the_file(backbones, tmp_path):
    shutil.copytree(backbones / "llm", tmp_path / "llm")
    before = (tmp_path / "llm" / "model.safetensors").read_bytes()
    llm = load_backbone(Qwen3ForCausalLM, str(tmp_path / "llm"), torch.float32, Qwen3.size_rules)
    with torch.no_grad():
        for parameter in llm.parameters():
            parameter.add_(1.0)
    assert (tmp_path / "llm" / "model.safetensors").read_bytes() == before


def test_the_page_about_backbones_names_every_family():
    page = (Path(__file__).resolve().parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\|[^|]+\| `([\w-]+)` \| (?!notes)", page, re.MULTILINE)) == {*LLMS, *ENCODERS}
