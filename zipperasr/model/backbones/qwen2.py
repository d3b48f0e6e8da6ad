"""Qwen2 and Qwen2.5, based on transformers' Qwen2ForCausalLM."""

from __future__ import annotations

from transformers import Qwen2Config, Qwen2ForCausalLM

from zipperasr.model.backbones.causal_llm import CausalLLM, decoder_sizes


class Qwen2(CausalLLM):
    """The dense Qwen2 and Qwen2.5 models: query, key and value have biases."""

    size_rules = decoder_sizes(Qwen2Config)
    model_class = Qwen2ForCausalLM
    end_token = "<|im_end|>"
    fast_decoding = True
