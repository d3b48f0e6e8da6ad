"""Interface of pretrained LLMs: functions on a transformers model, because PEFT wraps that model itself.

The families are registered in `zipperasr.model.backbones`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from zipperasr.model.backbone_files import load_backbone, transformers_errors
from zipperasr.model.backbones.merged_decoder import MergedDecoder
from zipperasr.model.ragged import Layout
from zipperasr.model.sizes import SizeRules, Sizes


@dataclass(frozen=True)
class LlmShape:
    """Dimensions of a decoder-only LLM, for estimates."""

    layers: int
    width: int
    inner: int  # of the feed-forward network
    heads: int
    key_heads: int
    head_dim: int
    vocabulary: int


class IncrementalLLM(Protocol):
    """An LLM with merged LoRA and a key-value cache, one sequence per row, for greedy search."""

    device: torch.device

    def embed(self, tokens: Tensor) -> Tensor:
        """(tokens,) -> (tokens, width)."""

    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, width) -> (rows, vocabulary), float32."""

    def add(self, embeddings: Tensor, lengths: Sequence[int], capacity: int, limit: int = 0) -> Tensor:
        """Add a row for each sequence; embeddings: (sum of lengths, width). Returns the last states (sequences, width).

        capacity: positions that the longest row will need; limit: positions of all rows together that the cache may
        keep although fewer are needed.
        """

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to every row: (rows,) -> hidden states (rows, width)."""

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order."""

    def rewind(self, row: int, count: int) -> None:
        """Forget the last `count` tokens of a row."""


class CausalLLM:
    """A family of decoder-only transformers LLMs. The defaults suit models built like Llama."""

    size_rules: ClassVar[SizeRules]
    model_class: ClassVar[type[PreTrainedModel]]
    lora_targets: ClassVar[tuple[str, ...]] = (  # all linear layers but lm_head
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    end_token: ClassVar[str | None] = None  # ends a transcript; None: the tokenizer's eos_token
    fast_decoding: ClassVar[bool] = False  # MergedDecoder computes this family; otherwise, transformers' generate does

    @classmethod
    def load(cls, path: str, dtype: torch.dtype) -> PreTrainedModel:
        """Load the weights strictly. Raises FileNotFoundError or ValueError."""
        return load_backbone(cls.model_class, path, dtype, cls.size_rules)

    @classmethod
    def empty(cls, path: str) -> PreTrainedModel:
        """Build the model from its configuration alone, on the default device."""
        with transformers_errors(path):
            return cls.model_class(AutoConfig.from_pretrained(path, trust_remote_code=False))

    @staticmethod
    def layers(model: PreTrainedModel) -> Sequence[nn.Module]:
        """The transformer layers."""
        return model.model.layers

    @staticmethod
    def last_linear(layer: nn.Module) -> nn.Module:
        """The last linear layer that a transformer layer computes."""
        return layer.mlp.down_proj

    @staticmethod
    def hidden_states(model: PreTrainedModel, embeddings: Tensor, position_ids: Tensor, layout: Layout) -> Tensor:
        """The last layer's output, (positions, width), for embeddings of that shape.

        No utterance of `layout` attends to another: packed_llm.py's attention uses the layout in place of a mask.
        transformers hands `layout` on to it, and makes no mask of its own if it gets a mask with four dimensions.
        """
        return model.model(
            inputs_embeds=embeddings[None],
            attention_mask=embeddings.new_empty(1, 1, 1, 1),  # ignored
            position_ids=position_ids[None],
            use_cache=False,
            layout=layout,
        ).last_hidden_state[0]

    @staticmethod
    def end_ids(model: PreTrainedModel) -> list[int]:
        """End tokens in the model's own generation settings."""
        ends = model.generation_config.eos_token_id
        return [end for end in (ends if isinstance(ends, list) else [ends]) if end is not None]

    @staticmethod
    def embedding_scale(model: PreTrainedModel) -> float:
        """Factor between the rows of the token embedding and the inputs of the first layer."""
        return 1.0

    @staticmethod
    def norm_gain(norm: nn.Module) -> Tensor:
        """The vector by which an RMSNorm multiplies the normalised input, in the precision of the norm."""
        return norm.weight.detach()

    @staticmethod
    def layer_type(model: PreTrainedModel, layer: int) -> str:
        """Layers of one type have the same rotary positions."""
        return "any"

    @staticmethod
    def rotations(model: PreTrainedModel, places: Tensor, layer_type: str) -> tuple[Tensor, Tensor]:
        """cos and sin of the rotary positions `places`, (positions,), in layers of a type: (positions, head_dim)."""
        cos, sin = model.model.rotary_emb(model.lm_head.weight, places[None])
        return cos[0], sin[0]

    @staticmethod
    def window(model: PreTrainedModel, layer: int) -> int | None:
        """Positions that a layer attends to, its own included; None: all before it."""
        return getattr(model.model.layers[layer].self_attn, "sliding_window", None)

    @classmethod
    def incremental(
        cls, model: PreTrainedModel, quantize: str = "none", cuda_graphs: bool = False
    ) -> IncrementalLLM | None:
        """The model prepared for fast greedy decoding; None: transformers' generate is used.

        quantize: none, or int8 (on CPUs). Raises ValueError if this device has no int8, or no CUDA graphs.
        """
        return MergedDecoder(model, cls, quantize, cuda_graphs) if cls.fast_decoding else None

    @classmethod
    def shape(cls, config: PreTrainedConfig | Sizes) -> LlmShape:
        """Dimensions from a configuration, or from the sizes in it."""

        def size(key: str) -> int | None:
            return config.get(key) if isinstance(config, dict) else getattr(config, key, None)

        heads = size("num_attention_heads")
        return LlmShape(
            layers=size("num_hidden_layers"),
            width=size("hidden_size"),
            inner=size("intermediate_size"),
            heads=heads,
            key_heads=size("num_key_value_heads"),
            head_dim=size("head_dim") or size("hidden_size") // heads,
            vocabulary=size("vocab_size"),
        )

    @classmethod
    def lora_widths(cls, sizes: Sizes) -> int:
        """Sum of the input and output widths of all LoRA targets."""
        shape = cls.shape(sizes)
        heads = 2 * shape.head_dim * (shape.heads + shape.key_heads)
        return shape.layers * (7 * shape.width + heads + 3 * shape.inner)


def decoder_sizes(config_class: type[PreTrainedConfig], head_dim_has_default: bool = False) -> SizeRules:
    """Size rules of a gated decoder with grouped-query attention, such as Llama. Tied embeddings are counted once.

    head_dim_has_default: config_class has a default for head_dim; otherwise transformers derives it from the width.
    """

    def parameters(sizes: Sizes) -> int:
        shape = CausalLLM.shape(sizes)
        heads = 2 * shape.head_dim * (shape.heads + shape.key_heads)
        return shape.width * (shape.layers * (heads + 3 * shape.inner) + shape.vocabulary)

    keys = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    optional = () if head_dim_has_default else ("head_dim",)
    keys = (*keys, "vocab_size", *(() if optional else ("head_dim",)))
    return SizeRules(config_class, keys, parameters, optional)
