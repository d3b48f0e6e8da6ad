"""A model from its configuration: load the backbones, put the adapters on, freeze what the phase freezes.

In: ModelConfig, the phase, the languages. Out: SpeechLLM. Works on the meta device too, from configurations alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase, Qwen3ForCausalLM
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from zipperasr.cli import nearest
from zipperasr.lora.injection import inject
from zipperasr.model.backbone_files import check_backbone, said_by_transformers
from zipperasr.model.backbones import WhisperEncoderOnly, load_backbone
from zipperasr.model.encoder import LORA_TARGETS, SpeechEncoder
from zipperasr.model.model_config import ModelConfig
from zipperasr.model.packed_llm import use_ragged_attention
from zipperasr.model.projector import GatedProjector
from zipperasr.model.speech_llm import SpeechLLM

PHASES = ("align", "sft")
LLM_LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]  # all but lm_head


def build_model(
    config: ModelConfig, dtype: torch.dtype = torch.float32, encoder_dtype: torch.dtype | None = None
) -> SpeechLLM:
    """The model of Stage 1: backbones, a new projector, plain LoRA on the LLM, nothing on the encoder.

    Projector and LoRA are float32. dtype: of the LLM. encoder_dtype: of the encoder; None: the same.
    Raises FileNotFoundError if a local backbone directory does not exist, ValueError if it does not fit.
    """
    whisper = load_backbone(WhisperEncoderOnly, config.whisper, encoder_dtype or dtype)
    if whisper.config.num_mel_bins != config.mel_bins:
        raise ValueError(
            f"{config.whisper}: {whisper.config.num_mel_bins} mel bins, but model.yaml says mel_bins: {config.mel_bins}"
        )
    return assemble(config, whisper.encoder, load_backbone(Qwen3ForCausalLM, config.llm, dtype))


def build_empty_model(config: ModelConfig) -> SpeechLLM:
    """The same on the meta device: shapes without weights, from the backbones' configurations alone."""
    check_backbone(config.whisper, "whisper")
    check_backbone(config.llm, "qwen3")
    with torch.device("meta"):
        with said_by_transformers(config.whisper):
            encoder = WhisperEncoder(AutoConfig.from_pretrained(config.whisper, trust_remote_code=False))
        with said_by_transformers(config.llm):
            llm = Qwen3ForCausalLM(AutoConfig.from_pretrained(config.llm, trust_remote_code=False))
        return assemble(config, encoder, llm)


def assemble(config: ModelConfig, whisper_encoder: WhisperEncoder, llm: Qwen3ForCausalLM) -> SpeechLLM:
    """Put a new projector between backbones that are built already, and plain LoRA on the LLM."""
    encoder = SpeechEncoder(whisper_encoder, config.checkpointing, config.pad_to_30s)
    llm_width = llm.config.hidden_size
    if config.checkpointing:
        llm.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})  # no dropout
    lora = PeftLoraConfig(
        r=config.llm_lora.rank, lora_alpha=config.llm_lora.alpha, target_modules=LLM_LORA_TARGETS, lora_dropout=0.0
    )
    projector = GatedProjector(encoder.width, config.projector_dim or llm_width, llm_width)
    use_ragged_attention(llm)
    embeddings = llm.get_input_embeddings().weight
    if not embeddings.is_meta:
        projector.match_scale(embeddings)
    return SpeechLLM(encoder, projector, get_peft_model(llm, lora))


def add_adapters(
    model: SpeechLLM, config: ModelConfig, variant: str, language_codes: Sequence[str], lid_embeddings: Tensor | None
) -> None:
    """Put the LoRA variant on every linear layer of the encoder (Stage 2)."""
    lora = config.encoder_lora
    model.encoder.pad_to_30s = config.pad_to_30s  # the alignment may have been trained without
    model.adapters = inject(
        model.encoder.whisper,
        variant,
        LORA_TARGETS,
        language_codes,
        lid_embeddings,
        lora.rank,
        lora.alpha,
        lora.of(variant),
    )


def set_trainable(model: SpeechLLM, phase: str) -> None:
    """Freeze by phase. align: encoder, projector, LLM LoRA train. sft: encoder LoRA, router, projector, LLM LoRA train.

    The LLM itself and Whisper's sinusoidal positions are frozen in both.
    """
    if phase not in PHASES:
        raise ValueError(f"unknown phase {phase!r}; {nearest(phase, PHASES)}")
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        if part == "encoder":
            adapted = _is_adapter(model, name)
            trains = adapted if phase == "sft" else not name.endswith("embed_positions.weight")
        elif part == "llm":
            trains = "lora_" in name
        else:
            trains = True
        parameter.requires_grad_(trains)


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The LLM's tokenizer."""
    check_backbone(config.llm, "qwen3")
    with said_by_transformers(config.llm):
        return AutoTokenizer.from_pretrained(config.llm, trust_remote_code=False)


def _is_adapter(model: SpeechLLM, name: str) -> bool:
    if model.adapters is None:
        return False
    layer = name.removeprefix("encoder.whisper.").rpartition(".")[0]
    return layer in model.adapters.layers
