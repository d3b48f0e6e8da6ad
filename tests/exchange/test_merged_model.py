"""The merged model of a language gives the same outputs as ours, for the encoder and for the complete model."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoTokenizer, Qwen3ForCausalLM, WhisperFeatureExtractor, WhisperModel

from tests.decode.by_transformers import transcribe_batch
from tests.exchange.outputs import TOLERANCE, by_transformers, distance, logits, ours, through_our_encoder
from tests.exchange.test_peft_adapter import PLAIN
from tests.model import tiny
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.exchange.export import main
from zipperasr.exchange.merged_model import load_merged
from zipperasr.exchange.pretrained import load_pretrained


@pytest.fixture(scope="module", params=PLAIN)
def exported(request, recipe_dir, tmp_path_factory):
    """(our model, directory of the model merged for Japanese)."""
    out = tmp_path_factory.mktemp("merged") / request.param
    training = recipe_dir / "exp" / f"sft_{request.param}"
    assert main(["--model", str(training), "--format", "merged", "--lang", "ja", "--out", str(out)]) == 0
    return load_pretrained(training).model, out


def test_encoder_outputs_are_equal(exported):
    model, out = exported
    whisper = WhisperModel.from_pretrained(out / "encoder").eval()
    assert distance(through_our_encoder(whisper), ours(model, "ja")) <= TOLERANCE
    assert distance(by_transformers(whisper), ours(model, "ja", (3000,))) <= TOLERANCE
    assert distance(through_our_encoder(whisper), ours(model, "de")) > 0.01 or "vanilla" in str(out)


def test_logits_of_the_complete_model_are_equal(exported, recipe_dir):
    """In float64, so that only the rounding of the merged weights matters, not the order of summation."""
    _, out = exported
    model = load_pretrained(recipe_dir / "exp" / f"sft_{out.name}", torch.float64).model
    assert distance(logits(load_merged(out, torch.float64), "ja"), logits(model, "ja")) <= TOLERANCE


@torch.no_grad()
def test_outputs_of_the_llm_are_equal(exported):
    model, out = exported
    ids = torch.arange(40)[None]
    theirs = Qwen3ForCausalLM.from_pretrained(out / "llm").eval()(ids).logits
    assert distance(theirs, model.llm(ids).logits) <= TOLERANCE
    with model.llm.disable_adapter():
        assert distance(theirs, model.llm(ids).logits) > 0.01
    assert AutoTokenizer.from_pretrained(out / "llm")("ein").input_ids == tiny.llm_tokenizer()("ein").input_ids


@torch.no_grad()
def test_the_projector_follows_the_formula_in_the_configuration(exported):
    model, out = exported
    facts = json.loads((out / "zipperasr.json").read_text(encoding="utf-8"))
    w = load_file(out / "projector.safetensors")
    frames = torch.randn(11, tiny.D_ENCODER, generator=torch.Generator().manual_seed(3))
    stride = facts["projector_stride"]
    columns = functional.pad(frames, (0, 0, 0, -len(frames) % stride)).T[None]
    gate, up = (functional.conv1d(columns, w[f"{n}.weight"], w[f"{n}.bias"], stride)[0].T for n in ("gate", "up"))
    hidden = functional.silu(gate) * up
    hidden = hidden + functional.linear(hidden, w["linear.weight"], w["linear.bias"])
    hidden = functional.layer_norm(hidden, hidden.shape[1:], w["norm.weight"], w["norm.bias"])
    by_hand = functional.linear(hidden, w["out.weight"], w["out.bias"])
    assert distance(by_hand, model.projector(frames, [11])[0]) <= TOLERANCE
    assert facts["prompts"] == {"ja": tiny.table()["ja"].prompt} and facts["mel_bins"] == tiny.MEL_BINS
    assert facts["trained_from"]["whisper"] == "whisper"  # not a local path
    assert WhisperFeatureExtractor.from_pretrained(out / "encoder").feature_size == tiny.MEL_BINS


def test_transcripts_are_equal(exported):
    model, out = exported
    batch = tiny.two_packs()[1]
    config, tokenizer = DecodeConfig(tokens_per_s=5), tiny.llm_tokenizer()
    texts = transcribe_batch(load_merged(out), tokenizer, batch, None, config)
    assert texts == transcribe_batch(model, tokenizer, batch, None, config)


def test_an_alignment_is_merged_without_a_language(recipe_dir, tmp_path):
    training = recipe_dir / "exp/align"
    assert main(["--model", str(training), "--format", "merged", "--out", str(tmp_path / "out")]) == 0
    merged, model = load_merged(tmp_path / "out", torch.float64), load_pretrained(training, torch.float64).model
    assert distance(logits(merged), logits(model)) <= TOLERANCE


def test_half_precision_halves_the_files(recipe_dir, tmp_path):
    call = ["--model", str(recipe_dir / "exp/sft_vanilla"), "--format", "merged", "--lang", "de", "--dtype"]
    assert main([*call, "bfloat16", "--out", str(tmp_path / "half")]) == 0
    kinds = {tensor.dtype for name in ("projector", "llm/model", "encoder/model")
             for tensor in load_file(tmp_path / "half" / f"{name}.safetensors").values()}  # fmt: skip
    assert kinds == {torch.bfloat16}


def test_other_directories_are_rejected(recipe_dir, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"zipperasr.json: missing; wanted the output of zipperasr export --format me"
    ):
        load_merged(recipe_dir / "exp/align")
    call = ["--model", str(recipe_dir / "exp/sft_vanilla"), "--format", "merged", "--lang", "de"]
    assert main([*call, "--out", str(tmp_path / "out")]) == 0
    weights = load_file(tmp_path / "out/projector.safetensors")
    del weights["norm.bias"]
    save_file(weights, tmp_path / "out/projector.safetensors")
    with pytest.raises(ValueError, match=r"(?s)projector.safetensors: does not fit .*norm\.bias"):
        load_merged(tmp_path / "out")


def test_a_model_without_encoder_lora_is_merged_for_all_languages(recipe_dir, tmp_path):
    training, out = recipe_dir / "exp" / "sft_none", tmp_path / "merged"
    assert main(["--model", str(training), "--format", "merged", "--out", str(out)]) == 0
    facts = json.loads((out / "zipperasr.json").read_text(encoding="utf-8"))
    assert set(facts["prompts"]) == set(tiny.CODES) and facts["trained_from"]["lora"] == "none"
    model = load_pretrained(training, torch.float64).model
    assert distance(logits(load_merged(out, torch.float64)), logits(model)) <= TOLERANCE
