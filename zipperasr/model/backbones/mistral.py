"""Mistral, based on transformers' MistralForCausalLM."""

from __future__ import annotations

from transformers import MistralConfig, MistralForCausalLM

from zipperasr.model.backbones.causal_llm import CausalLLM, decoder_sizes


class Mistral(CausalLLM):
    """The dense Mistral models. In some of them, all layers attend to a window."""

    size_rules = decoder_sizes(MistralConfig)
    model_class = MistralForCausalLM
    fast_decoding = True

    @staticmethod
    def window(model: MistralForCausalLM, layer: int) -> int | None:
        return model.config.sliding_window
