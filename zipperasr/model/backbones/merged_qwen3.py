"""Qwen3 for decoding only: LoRA merged into the weights, fused projections, one static key-value cache.

In: a Qwen3ForCausalLM, with or without PEFT's LoRA. Out: hidden states of new positions, given the cached ones of each
row. Merged weights are copies, so the original model can continue training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3ForCausalLM

from zipperasr.device import to_device
from zipperasr.model import ragged

CACHE_BLOCK = 128  # positions by which the cache grows


@dataclass(frozen=True)
class _Layer:
    """One decoder layer's weights, (d_out, d_in)."""

    query_key_value: Tensor
    output: Tensor
    gate_up: Tensor
    down: Tensor
    attention_norm: Tensor
    mlp_norm: Tensor
    query_norm: Tensor
    key_norm: Tensor


class MergedQwen3:
    """An `IncrementalLLM`. The first `rows` rows of the cache hold one sequence each; `step` extends all of them."""

    def __init__(self, llm: Qwen3ForCausalLM):
        config = llm.config
        self.heads, self.key_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self._eps = config.rms_norm_eps
        self._layers = [_merged_layer(layer) for layer in llm.model.layers]
        self._norm = llm.model.norm.weight.detach()
        self._head = llm.lm_head.weight.detach()
        self._embeddings = llm.model.embed_tokens.weight.detach()
        self._rotary = llm.model.rotary_emb
        self._turns: tuple[Tensor, Tensor] | None = None
        self._keys = self._values = self._head.new_zeros(len(self._layers), 0, self.key_heads, 0, self.head_dim)
        self.lengths = torch.zeros(0, dtype=torch.long)  # of the rows in use, on the CPU

    @property
    def device(self) -> torch.device:
        return self._head.device

    @property
    def rows(self) -> int:
        """Number of rows in use."""
        return len(self.lengths)

    def embed(self, tokens: Tensor) -> Tensor:
        return self._embeddings[tokens]

    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, width) -> (rows, vocabulary), float32."""
        return functional.linear(hidden, self._head).float()

    def add(self, embeddings: Tensor, lengths: Sequence[int], capacity: int) -> Tensor:
        """Append a row for each sequence.

        embeddings: (sum of lengths, width), sequences end to end; capacity: positions that the longest row will need.
        Returns the hidden state of each sequence's last position: (sequences, width).
        """
        first = self.rows
        self._grow_cache(first + len(lengths), capacity)
        layout = ragged.Layout(lengths, self.device)
        places = ragged.positions(lengths, self.device)
        row = torch.repeat_interleave(torch.arange(first, first + len(lengths)), torch.tensor(lengths))
        row = to_device(row, self.device)
        scale = self.head_dim**-0.5

        def attend(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            self._keys[number][row, :, places] = key
            self._values[number][row, :, places] = value
            return ragged.self_attention(query, key, value, layout, scale, causal=True)

        hidden = self._run(embeddings, places, max(lengths), attend)
        self.lengths = torch.cat([self.lengths, torch.tensor(lengths)])
        return functional.rms_norm(hidden[layout.offsets[1:].long() - 1], self._norm.shape, self._norm, self._eps)

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to every row: (rows,) -> hidden states (rows, width)."""
        rows, longest = self.rows, int(self.lengths.max()) + 1
        places = to_device(self.lengths, self.device)
        row = torch.arange(rows, device=self.device)
        mask = None
        if int(self.lengths.min()) + 1 < longest:
            mask = (torch.arange(longest, device=self.device) <= places[:, None])[:, None, None]

        def attend(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            self._keys[number][row, :, places] = key
            self._values[number][row, :, places] = value
            keys, values = (cache[number, :rows, :, :longest] for cache in (self._keys, self._values))
            groups = query.unflatten(1, (self.key_heads, -1))  # the query heads of a key head are its queries
            return _attend(groups, keys, values, mask).flatten(1, 2)

        hidden = self._run(self.embed(tokens), places, longest, attend)
        self.lengths = self.lengths + 1
        return functional.rms_norm(hidden, self._norm.shape, self._norm, self._eps)

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order; each keeps its index or moves to a lower, unused one."""
        for target, source in enumerate(rows):
            if target != source:
                length = int(self.lengths[source])
                for cache in (self._keys, self._values):
                    cache[:, target, :, :length] = cache[:, source, :, :length]
        self.lengths = self.lengths[list(rows)]

    def _run(
        self, hidden: Tensor, places: Tensor, longest: int, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]
    ) -> Tensor:
        """All layers over new positions (n, width); places: their positions in sequences of at most `longest`."""
        cos, sin = (table[places] for table in self._rotations(longest))
        sizes = [self.heads, self.key_heads, self.key_heads]
        for number, layer in enumerate(self._layers):
            normed = functional.rms_norm(hidden, layer.attention_norm.shape, layer.attention_norm, self._eps)
            fused = functional.linear(normed, layer.query_key_value).unflatten(1, (-1, self.head_dim))
            query, key, value = fused.split(sizes, 1)
            query = _rotate(functional.rms_norm(query, (self.head_dim,), layer.query_norm, self._eps), cos, sin)
            key = _rotate(functional.rms_norm(key, (self.head_dim,), layer.key_norm, self._eps), cos, sin)
            hidden = hidden + functional.linear(attend(number, query, key, value).flatten(1), layer.output)
            normed = functional.rms_norm(hidden, layer.mlp_norm.shape, layer.mlp_norm, self._eps)
            gate, up = functional.linear(normed, layer.gate_up).chunk(2, -1)
            hidden = hidden + functional.linear(functional.silu(gate) * up, layer.down)
        return hidden

    def _rotations(self, positions: int) -> tuple[Tensor, Tensor]:
        """cos and sin of every position: (positions, 1, head_dim) each."""
        if self._turns is None or len(self._turns[0]) < positions:
            places = torch.arange(-(-positions // CACHE_BLOCK) * CACHE_BLOCK, device=self.device)[None]
            self._turns = tuple(turn[0, :, None] for turn in self._rotary(self._head, places))
        return self._turns

    def _grow_cache(self, rows: int, positions: int) -> None:
        _, has_rows, _, has_positions, _ = self._keys.shape
        if rows <= has_rows and positions <= has_positions:
            return
        rows, positions = max(rows, has_rows), max(-(-positions // CACHE_BLOCK) * CACHE_BLOCK, has_positions)
        grown = []
        for old in (self._keys, self._values):
            new = old.new_zeros(len(self._layers), rows, self.key_heads, positions, self.head_dim)
            new[:, : self.rows, :, :has_positions] = old[:, : self.rows]
            grown.append(new)
        self._keys, self._values = grown


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """query: (rows, key heads, queries, head_dim); keys, values: (rows, key heads, positions, head_dim).

    For a few queries, plain products take half the time of torch's fused attention on a CPU.
    """
    if query.is_cuda:
        return functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5 @ keys.transpose(-1, -2)).float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1).to(values.dtype) @ values


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al., 2021), on halves of the head dimension. heads: (n, heads, head_dim)."""
    first, second = heads.chunk(2, -1)
    return heads * cos + torch.cat([-second, first], -1) * sin


def _merged_layer(layer: nn.Module) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        torch.cat([_merged(part) for part in (attention.q_proj, attention.k_proj, attention.v_proj)]),
        _merged(attention.o_proj),
        torch.cat([_merged(mlp.gate_proj), _merged(mlp.up_proj)]),
        _merged(mlp.down_proj),
        *(
            norm.weight.detach()
            for norm in (layer.input_layernorm, layer.post_attention_layernorm, attention.q_norm, attention.k_norm)
        ),
    )


@torch.no_grad()
def _merged(linear: nn.Module) -> Tensor:
    """W0 + scaling B A of PEFT's LoRA layer, added in float32; the plain weight of any other linear layer."""
    if linear.bias is not None:
        raise ValueError("got a Qwen3 with biases in its linear layers; greedy decoding supports only those without")
    if not hasattr(linear, "get_delta_weight"):
        return linear.weight.detach()
    weight = linear.get_base_layer().weight
    for name in linear.active_adapters:
        weight = weight.float() + linear.get_delta_weight(name).float()
    return weight.to(linear.get_base_layer().weight.dtype)
