"""Decoding with Qwen3's published vocabulary and generation settings: end tokens, added tokens, no sampling."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from tests.decode.by_transformers import transcribe_batch
from tests.model import tiny
from zipperasr.batching.loader import ExampleReader
from zipperasr.config import load_yaml
from zipperasr.decode.beam import max_new_tokens, stop_ids
from zipperasr.decode.decode_config import DecodeConfig
from zipperasr.decode.decoder import Decoder
from zipperasr.model.prompt import transcript_ids
from zipperasr.model.speech_llm import SpeechLLM

END_OF_TEXT, IM_END, THINK, END_THINK, TOOL_CALL = 151_643, 151_645, 151_667, 151_668, 151_657
WIDTH = 16
CONFIG = DecodeConfig(tokens_per_s=4.0, tokens_floor=8)


@pytest.fixture(scope="module")
def tokenizer(qwen3_files: Path):
    return AutoTokenizer.from_pretrained(qwen3_files)


@pytest.fixture
def model(backbones: Path, qwen3_files: Path, tmp_path: Path) -> SpeechLLM:
    """A two-layer Qwen3 with the published vocabulary, generation settings and plain LoRA."""
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": False}
    Qwen3ForCausalLM(Qwen3Config(vocab_size=151_936, initializer_range=0.2, **sizes, **heads)).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(qwen3_files / name, tmp_path)
    return tiny.align_model(tiny.model_config(backbones, llm=str(tmp_path)))


@pytest.fixture
def examples(tokenizer):
    read = ExampleReader(tokenizer, tiny.table(), tiny.FRONTEND)
    codes = tiny.table().codes
    return [read.of_audio(f"u{number}", codes[number], tiny.noise(8000 + 900 * number, number)) for number in range(6)]


@torch.no_grad()
def say(model: SpeechLLM, ids: list[int]) -> None:
    """Set the weights so that the LLM generates these tokens cyclically, whatever the input.

    The layers add nothing to the residual stream; each token's embedding is an axis that selects its successor.
    """
    for name, parameter in model.llm.named_parameters():
        if "o_proj" in name or "down_proj" in name:
            parameter.zero_()
    axes = torch.eye(WIDTH)
    embeddings, head = model.causal_lm.get_input_embeddings().weight, model.causal_lm.lm_head.weight
    model.causal_lm.model.norm.weight.fill_(1.0)
    embeddings.copy_(axes[-1].expand_as(embeddings))
    head.zero_()
    model.projector.out.weight.zero_()
    model.projector.out.bias.copy_(axes[-1])
    head[ids[0]] = axes[-1]
    for axis, (token, following) in enumerate(zip(ids, [*ids[1:], ids[0]], strict=True)):
        embeddings[token] = axes[axis]
        head[following] += axes[axis]


def found(model, tokenizer, examples, config=CONFIG) -> dict[str, tuple[str, str]]:
    decoder = Decoder(model, tokenizer, config, None)
    return {one.example.utt_id: (one.text, one.note) for one in decoder.run([examples])}


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("end", [END_OF_TEXT, IM_END])
def test_either_end_token_ends_a_text(model, tokenizer, examples, end, beam):
    say(model, [*tokenizer("guten Tag")["input_ids"], end])
    assert stop_ids(model, tokenizer) == [END_OF_TEXT, IM_END]
    config = DecodeConfig(tokens_per_s=4.0, tokens_floor=8, beam=beam)
    assert set(found(model, tokenizer, examples, config).values()) == {("guten Tag", "")}
    assert set(transcribe_batch(model, tokenizer, examples, None, config)) == {"guten Tag"}


def test_added_tokens_stay_out_of_the_text(model, tokenizer, examples):
    *first, last = tokenizer("guten Tag")["input_ids"]
    say(model, [*first, END_THINK, TOOL_CALL, last, IM_END])
    assert set(found(model, tokenizer, examples).values()) == {("guten Tag", "")}
    assert set(transcribe_batch(model, tokenizer, examples, None, CONFIG)) == {"guten Tag"}


def test_a_text_that_begins_with_thinking_has_a_note(model, tokenizer, examples):
    say(model, [THINK, *tokenizer("guten Tag")["input_ids"], IM_END])
    wanted = ("guten Tag", "reads like a chat reply, not like a transcript")
    assert set(found(model, tokenizer, examples).values()) == {wanted}


def test_the_published_sampling_settings_are_not_used(model, tokenizer, examples):
    published = model.causal_lm.generation_config
    assert published.do_sample and (published.temperature, published.top_k, published.top_p) == (0.6, 20, 0.95)
    texts = transcribe_batch(model, tokenizer, examples, None, CONFIG)
    assert len(set(texts)) > 1
    assert texts == transcribe_batch(model, tokenizer, examples, None, CONFIG)
    greedy = found(model, tokenizer, examples)
    assert texts == [greedy[example.utt_id][0] for example in examples]


def test_real_transcripts_fit_the_length_limit_of_full_scale_decoding(tokenizer, recipe, shared_dir):
    config = load_yaml(DecodeConfig, recipe / "conf" / "full" / "decode.yaml")
    index = (shared_dir / "fixtures" / "real_speech" / "INDEX.tsv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(index, delimiter="\t", quoting=csv.QUOTE_NONE))
    spoken = [row for row in rows if row["transcript"] and row["duration_s"]]
    assert {row["language"] for row in spoken} >= {
        "ar",
        "de",
        "en",
        "es",
        "fr",
        "it",
        "ja",
        "ko",
        "pt",
        "ru",
        "vi",
        "zh",
    }
    cut_off = [
        row["path"]
        for row in spoken
        if len(transcript_ids(tokenizer, row["transcript"]))
        > max_new_tokens(int(16_000 * float(row["duration_s"].strip("~"))), config)
    ]
    assert cut_off == []
