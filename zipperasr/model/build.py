"""Build a model from its configuration: load the backbones, add the adapters, freeze parameters by phase.

In: ModelConfig, the phase, the languages. Out: SpeechLLM, also on the meta device, from configuration files alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from zipperasr.audio.frontend import LOG_MEL
from zipperasr.cli import nearest
from zipperasr.lora import NO_LORA
from zipperasr.lora.injection import inject
from zipperasr.model.backbones import find_encoder, find_llm, llm_of
from zipperasr.model.backbones.speech_encoder import SpeechEncoder
from zipperasr.model.model_config import ModelConfig
from zipperasr.model.packed_llm import use_ragged_attention
from zipperasr.model.projector import GatedProjector
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.prepare.dataset_table import PHASES


def build_model(
    config: ModelConfig, dtype: torch.dtype = torch.float32, encoder_dtype: torch.dtype | None = None
) -> SpeechLLM:
    """Build the model for the alignment: backbones, a new projector, plain LoRA on the LLM, no adapters on the encoder.

    dtype: precision of the LLM. encoder_dtype: precision of the encoder; None: the same. The rest is float32.
    Raises FileNotFoundError if a local backbone directory does not exist, ValueError if it does not fit.
    """
    encoder = find_encoder(config.whisper)[0].load(config.whisper, encoder_dtype or dtype)
    if encoder.mel_bins != config.mel_bins:
        raise ValueError(
            f"{config.whisper}: {encoder.mel_bins} mel bins, but model.yaml has mel_bins: {config.mel_bins}; correct it"
        )
    return assemble(config, encoder, find_llm(config.llm)[0].load(config.llm, dtype))


def build_empty_model(config: ModelConfig) -> SpeechLLM:
    """Build the same model on the meta device: shapes without weights, from the backbones' configurations alone."""
    (encoder, _), (llm, _) = find_encoder(config.whisper), find_llm(config.llm)
    with torch.device("meta"):
        return assemble(config, encoder.empty(config.whisper), llm.empty(config.llm))


def assemble(config: ModelConfig, encoder: SpeechEncoder, llm: PreTrainedModel) -> SpeechLLM:
    """Join backbones with a new projector, and add plain LoRA to the LLM."""
    encoder.checkpointing = config.checkpointing
    _set_padding(encoder, config)
    family, llm_width = llm_of(llm), llm.config.hidden_size
    if config.checkpointing:
        llm.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})  # no dropout
    lora = PeftLoraConfig(
        r=config.llm_lora.rank,
        lora_alpha=config.llm_lora.alpha,
        target_modules=list(family.lora_targets),
        lora_dropout=0.0,
    )
    projector = GatedProjector(encoder.width, config.projector_dim or llm_width, llm_width)
    use_ragged_attention(llm)
    embeddings = llm.get_input_embeddings().weight
    if not embeddings.is_meta:
        projector.match_scale(embeddings, family.embedding_scale(llm))
    return SpeechLLM(encoder, projector, get_peft_model(llm, lora))


def add_adapters(
    model: SpeechLLM, config: ModelConfig, variant: str, language_codes: Sequence[str], lid_embeddings: Tensor | None
) -> None:
    """Add the LoRA variant to every linear layer of the encoder (adaptation); NO_LORA adds nothing."""
    lora = config.encoder_lora
    _set_padding(model.encoder, config)  # may differ from the alignment's
    if variant == NO_LORA:
        model.encoder.checkpointing = False  # it has no backward pass
        return
    model.adapters = inject(
        model.encoder.pretrained,
        variant,
        model.encoder.lora_targets,
        language_codes,
        lid_embeddings,
        lora.rank,
        lora.alpha,
        lora.of(variant),
    )


def _set_padding(encoder: SpeechEncoder, config: ModelConfig) -> None:
    if config.pad_to_30s and encoder.feature_kind != LOG_MEL:
        raise ValueError(f"{config.whisper}: pad_to_30s is for Whisper's features; set pad_to_30s: false")
    encoder.pad_to_30s = config.pad_to_30s


def empty_embeddings(config: ModelConfig, variant: str, num_languages: int) -> Tensor | None:
    """Language embeddings on the meta device for `add_adapters`: (languages, d_lid); None if the router learns them."""
    if config.encoder_lora.learns_embeddings(variant):
        return None
    source, sizes = find_encoder(config.languages_from)
    return torch.zeros(num_languages, source.width_of(sizes), device="meta")


def set_trainable(model: SpeechLLM, phase: str) -> None:
    """Freeze parameters by phase.

    align trains encoder, projector and LLM LoRA; sft trains encoder LoRA and router (if there are any),
    projector and LLM LoRA. The LLM itself and the encoder's `never_trained` parameters are always frozen.
    """
    if phase not in PHASES:
        raise ValueError(f"unknown phase {phase!r}; {nearest(phase, PHASES)}")
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        if part == "encoder":
            adapted = name.rpartition(".")[0] in model.adapted_layers
            trains = adapted if phase == "sft" else not name.endswith(model.encoder.never_trained)
        elif part == "llm":
            trains = "lora_" in name
        else:
            trains = True
        parameter.requires_grad_(trains)
