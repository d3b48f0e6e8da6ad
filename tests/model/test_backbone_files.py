"""A backbone's directory cannot make transformers run code or read files outside the directory."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import Qwen3ForCausalLM, WhisperForConditionalGeneration, WhisperModel

from tests.model import tiny
from zipperasr.languages import LanguageTable
from zipperasr.lid.embeddings import language_token_ids
from zipperasr.model.backbone_files import load_backbone
from zipperasr.model.backbones import find_encoder, load_tokenizer
from zipperasr.model.backbones.qwen3 import Qwen3
from zipperasr.model.backbones.whisper import WHISPER_SIZES
from zipperasr.model.build import build_empty_model, build_model

CODE = {"AutoConfig": "evil.Config", "AutoTokenizer": ["evil.Tokenizer", None], "AutoModel": "evil.Model"}


@pytest.fixture
def own(backbones, tmp_path) -> Path:
    """A copy of both backbones with code that would create the file `run`."""
    shutil.copytree(backbones, tmp_path / "b")
    for part in ("whisper", "llm"):
        (tmp_path / "b" / part / "evil.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    return tmp_path / "b"


def edit(path: Path, **changes: object) -> None:
    tree = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**tree, **changes}), encoding="utf-8")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("part", ["whisper", "llm"])
def test_code_in_a_model_is_never_run_without_a_question(own, tmp_path, monkeypatch, file, part):
    monkeypatch.setattr(sys, "stdin", None)  # a prompt would fail
    edit(own / part / file, auto_map=CODE, model_type="evil" if file == "config.json" else None)
    config = tiny.model_config(own)
    ways = {
        "whisper": [
            lambda: build_model(config),
            lambda: build_empty_model(config),
            lambda: language_token_ids(config.whisper, LanguageTable.load(tiny.TABLE_PATH)),
            lambda: load_backbone(WhisperModel, config.whisper, torch.float32, WHISPER_SIZES),
        ],
        "llm": [lambda: build_model(config), lambda: build_empty_model(config), lambda: load_tokenizer(config.llm)],
    }
    for way in ways[part]:
        with pytest.raises(ValueError, match=rf"{part}/{file}: auto_map requests Python code .* never run"):
            way()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model_type", ["evil", "llama", None, ["qwen3"], "x" * 1000])
def test_another_model_type_is_an_error(own, model_type):
    edit(own / "llm/config.json", model_type=model_type)
    with pytest.raises(ValueError, match=r"llm/config.json: got model_type .*, wanted 'qwen3'") as caught:
        load_backbone(Qwen3ForCausalLM, str(own / "llm"), torch.float32, Qwen3.size_rules)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attn_implementation", "somebody/kernel"),
        ("_attn_implementation", "somebody/kernel"),
        ("attn_implementation", {"": "somebody/kernel"}),
        ("quantization_config", {"quant_method": "awq"}),
    ],
)
def test_other_software_is_not_loaded(own, key, value):
    edit(own / "whisper/config.json", **{key: value})
    with pytest.raises(ValueError, match=rf"whisper/config.json: {key} loads other software; remove it"):
        find_encoder(str(own / "whisper"))


@pytest.mark.parametrize("content", ["[]", "3", "{", "", "[" * 100_000, '{"a":' * 100_000, "\x00", "\ud800"])
def test_an_unreadable_config_is_reported_in_one_line(own, content):
    (own / "llm/config.json").write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(ValueError, match=r"llm/config.json: cannot be read as JSON \(.*\); fetch it again") as caught:
        load_tokenizer(str(own / "llm"))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("place", ["../../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", None, 3])
@pytest.mark.parametrize("name", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_shards_outside_the_directory_are_not_opened(own, name, place):
    for weights in (own / "whisper").glob("*.safetensors"):
        weights.unlink()
    (own / "whisper" / name).write_text(json.dumps({"metadata": {}, "weight_map": {"model.x": place}}))
    with pytest.raises(ValueError, match=rf"{name}: got shard .*, wanted the name of a file in"):
        build_model(tiny.model_config(own))


def test_an_adapter_directory_is_rejected(own, backbones, tmp_path):
    """transformers would load the base model of the adapter instead."""
    other = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "elsewhere")}
    (own / "llm/adapter_config.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"llm/adapter_config.json: got a PEFT adapter, wanted a complete model"):
        build_model(tiny.model_config(own))


def test_shards_in_the_same_directory_are_read(backbones, tmp_path):
    whisper = WhisperForConditionalGeneration.from_pretrained(backbones / "whisper")
    whisper.save_pretrained(tmp_path / "w", max_shard_size="8KB")
    assert (tmp_path / "w/model.safetensors.index.json").is_file()
    load_backbone(WhisperModel, str(tmp_path / "w"), torch.float32, WHISPER_SIZES)


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
@pytest.mark.parametrize("places", [{"x": "model.safetensors.index.json"}, {"x": "config.json"}, [], None])
def test_an_index_may_only_name_weight_files(own, name, places):
    for weights in (own / "whisper").glob("*.safetensors"):
        weights.unlink()
    (own / "whisper" / name).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    with pytest.raises(
        ValueError, match=rf"{name}: (got shard .*, wanted a .safetensors or .bin|weight_map is missing)"
    ):
        build_model(tiny.model_config(own))


def test_a_model_of_the_hub_that_is_not_here_is_named():
    with pytest.raises(OSError, match=r"^none/such: not in the local cache, .*; run `hf download none/such`$"):
        load_tokenizer("none/such")
