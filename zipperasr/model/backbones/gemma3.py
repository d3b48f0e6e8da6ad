"""Gemma 3's text models (270M and 1B), based on transformers' Gemma3ForCausalLM."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedModel

from zipperasr.model.backbones.causal_llm import CausalLLM, decoder_sizes


class Gemma3(CausalLLM):
    """Text-only Gemma 3: most layers attend to a window, norms surround both halves of a layer, inputs are scaled."""

    size_rules = decoder_sizes(Gemma3TextConfig, head_dim_has_default=True)
    model_class = Gemma3ForCausalLM
    fast_decoding = True

    @classmethod
    def load(cls, path: str, dtype: torch.dtype) -> PreTrainedModel:
        """Load the weights strictly. Raises ValueError for models with soft-capping or attention in both directions."""
        model = super().load(path, dtype)
        for name in ("final_logit_softcapping", "attn_logit_softcapping", "use_bidirectional_attention"):
            if value := getattr(model.config, name):
                raise ValueError(f"{path}: {name}: got {value}, which is not supported; wanted a Gemma 3 text model")
        return model

    @staticmethod
    def embedding_scale(model: Gemma3ForCausalLM) -> float:
        return model.model.embed_tokens.scalar_embed_scale

    @staticmethod
    def norm_gain(norm: nn.Module) -> Tensor:
        return 1.0 + norm.weight.detach().float()

    @staticmethod
    def layer_type(model: Gemma3ForCausalLM, layer: int) -> str:
        return model.config.layer_types[layer]

    @staticmethod
    def rotations(model: Gemma3ForCausalLM, places: Tensor, layer_type: str) -> tuple[Tensor, Tensor]:
        cos, sin = model.model.rotary_emb(model.lm_head.weight, places[None], layer_type)
        return cos[0], sin[0]
