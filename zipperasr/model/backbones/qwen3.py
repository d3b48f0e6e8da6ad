"""Qwen3, based on transformers' Qwen3ForCausalLM."""

from __future__ import annotations

from transformers import Qwen3Config, Qwen3ForCausalLM

from zipperasr.model.backbones.merged_qwen3 import MergedQwen3
from zipperasr.model.backbones.protocol import CausalLLM, decoder_parameters
from zipperasr.model.sizes import SizeRules


class Qwen3(CausalLLM):
    """The dense Qwen3 models."""

    size_rules = SizeRules(
        Qwen3Config,
        (
            "hidden_size",
            "num_hidden_layers",
            "intermediate_size",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "vocab_size",
        ),
        lambda sizes: decoder_parameters(CausalLLM.shape(sizes)),
    )
    model_class = Qwen3ForCausalLM
    end_token = "<|im_end|>"

    @staticmethod
    def incremental(model: Qwen3ForCausalLM) -> MergedQwen3:
        return MergedQwen3(model)
