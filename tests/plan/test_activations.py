"""The estimate of activations equals what autograd saves, measured on a small model of the same classes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers import Qwen3Config, WhisperConfig

from tests.plan.kept import KeptBytes
from zipperasr.batching.batch import Example, PackedBatch, collate
from zipperasr.lora import NO_LORA
from zipperasr.model.build import add_adapters, build_empty_model, set_trainable
from zipperasr.model.model_config import EncoderLoraConfig, ModelConfig
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.plan.activations import MicroBatch, count_activations, encoder_layer_bytes
from zipperasr.plan.steps import AssumedSpeech

MEL_BINS, LANGUAGES = 16, ("de", "ja")
LONG_FRAMES, SHORT_FRAMES = 800, 400  # mel frames of the two utterances in each pack


def small_model(
    directory, phase: str, checkpointing: bool, dtype: torch.dtype, lora: str = "vanilla"
) -> tuple[SpeechLLM, ModelConfig]:
    WhisperConfig(
        d_model=128, encoder_layers=3, encoder_attention_heads=4, encoder_ffn_dim=512, num_mel_bins=MEL_BINS,
        decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=16, vocab_size=8, pad_token_id=0,
    ).save_pretrained(directory / "whisper")  # fmt: skip
    Qwen3Config(
        hidden_size=128, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
        intermediate_size=384, vocab_size=64, tie_word_embeddings=True,
    ).save_pretrained(directory / "llm")  # fmt: skip
    rank = EncoderLoraConfig(rank=8, alpha=16)
    config = ModelConfig(
        str(directory / "whisper"), str(directory / "llm"), MEL_BINS, None, rank, rank, checkpointing=checkpointing
    )
    model = build_empty_model(config)
    if phase == "sft":
        add_adapters(model, config, lora, LANGUAGES, None)
    set_trainable(model, phase)
    model = model.to_empty(device="cpu").to(dtype).train()
    rotary = model.causal_lm.model.rotary_emb
    rotary.inv_freq = torch.ones_like(rotary.inv_freq)  # an uninitialised buffer could contain anything
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return model, config


def batch_of_two_packs(dtype: torch.dtype) -> PackedBatch:
    packs = [
        [
            Example("id", code, torch.randn(frames, MEL_BINS), frames * 160, [1] * 5, [2] * 20)
            for frames in (LONG_FRAMES, SHORT_FRAMES)
        ]
        for code in LANGUAGES
    ]
    batch = collate(packs)
    return dataclasses.replace(batch, speech=dataclasses.replace(batch.speech, mel=batch.speech.mel.to(dtype)))


@pytest.mark.parametrize(("phase", "lora"), [("align", "vanilla"), ("sft", "vanilla"), ("sft", NO_LORA)])
@pytest.mark.parametrize(
    ("checkpointing", "dtype"), [(False, torch.bfloat16), (False, torch.float32), (True, torch.bfloat16)]
)
def test_the_estimate_equals_what_autograd_saves(tmp_path, phase, lora, checkpointing, dtype):
    model, config = small_model(tmp_path, phase, checkpointing, dtype, lora)
    batch = batch_of_two_packs(dtype)
    with KeptBytes(model) as kept:
        _, _, labels = model(batch)

    micro_batch = MicroBatch(
        packs=2,
        max_positions=batch.num_positions // 2,
        speech_positions=len(batch.text.speech_places),
        labels=int(labels),
        flash_attention=False,
    )
    estimate = count_activations(model, config, phase, micro_batch, dtype.itemsize)

    assert estimate.kept == pytest.approx(kept.total, rel=0.03)


def test_checkpointing_saves_a_fraction_and_recomputes_a_layer(full_model, full_config):
    model, _ = full_model
    batch = MicroBatch.assumed(16, full_config, AssumedSpeech())
    plain = dataclasses.replace(full_config, checkpointing=False)
    checkpointed = dataclasses.replace(full_config, checkpointing=True)
    much = count_activations(model, plain, "sft", batch, 2)
    little = count_activations(model, checkpointed, "sft", batch, 2)
    assert little.kept < much.kept / 10
    assert little.layer > much.layer
    assert little.logits == much.logits == 512 * 151_936 * 4 * 3


def test_attention_keeps_one_tensor_more_without_flash_attention(full_model, full_config):
    model, _ = full_model
    speech = AssumedSpeech()
    whole, half = (MicroBatch.assumed(16, full_config, speech, half) for half in (False, True))
    assert whole.frames == half.frames == pytest.approx(50 * 16 * speech.pack_s(2048))
    more, less = (encoder_layer_bytes(model.encoder.shape, 32, batch.flash_attention, 2) for batch in (whole, half))
    assert more - less == 2 * model.encoder.width
