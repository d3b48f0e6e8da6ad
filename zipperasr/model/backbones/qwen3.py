"""Qwen3, based on transformers' Qwen3ForCausalLM."""

from __future__ import annotations

from transformers import Qwen3Config, Qwen3ForCausalLM

from zipperasr.model.backbones.causal_llm import CausalLLM, decoder_sizes


class Qwen3(CausalLLM):
    """The dense Qwen3 models, base models included: all end a transcript with the chat models' end token."""

    size_rules = decoder_sizes(Qwen3Config, head_dim_has_default=True)
    model_class = Qwen3ForCausalLM
    end_token = "<|im_end|>"
    fast_decoding = True
