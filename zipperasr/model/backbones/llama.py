"""Llama 2 and 3, and models of the same form, based on transformers' LlamaForCausalLM."""

from __future__ import annotations

from transformers import LlamaConfig, LlamaForCausalLM

from zipperasr.model.backbones.causal_llm import CausalLLM, decoder_sizes


class Llama(CausalLLM):
    """Text-only Llama models. Llama 3.1 and later scale their rotary positions, which transformers does."""

    size_rules = decoder_sizes(LlamaConfig)
    model_class = LlamaForCausalLM
    fast_decoding = True
