"""An LLM for decoding only: LoRA merged into the weights, fused projections, one static key-value cache.

In: a transformers LLM of a family in this package, with or without PEFT's LoRA. Out: hidden states of new positions,
given the cached ones of each row. Merged weights are copies, so the original model can continue training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from zipperasr.device import to_device
from zipperasr.model import ragged
from zipperasr.model.backbones.decoder_linear import Linear, linear
from zipperasr.model.backbones.step_graphs import StepGraphs

if TYPE_CHECKING:
    from zipperasr.model.backbones.causal_llm import CausalLLM

CACHE_BLOCK = 128  # positions by which the cache grows, within its limit


@dataclass(frozen=True)
class _Norm:
    """RMSNorm, computed in the precision of its gain."""

    gain: Tensor
    eps: float

    def __call__(self, inputs: Tensor) -> Tensor:
        exact = inputs.to(self.gain.dtype)
        return functional.rms_norm(exact, self.gain.shape, self.gain, self.eps).to(inputs.dtype)


@dataclass(frozen=True)
class _Layer:
    """One decoder layer. Norms that a family does not have are identities."""

    query_key_value: Linear
    output: Linear
    gate_up: Linear
    down: Linear
    activation: Callable[[Tensor], Tensor]
    before_attention: Callable[[Tensor], Tensor]  # norms
    after_attention: Callable[[Tensor], Tensor]
    before_mlp: Callable[[Tensor], Tensor]
    after_mlp: Callable[[Tensor], Tensor]
    of_query: Callable[[Tensor], Tensor]
    of_key: Callable[[Tensor], Tensor]
    scale: float  # of attention scores
    window: int | None  # positions that it attends to; None: all before
    layer_type: str  # layers of one type have the same rotary positions


class MergedDecoder:
    """An `IncrementalLLM`. The first `rows` rows of the cache hold one sequence each; `step` extends all of them.

    Raises ValueError for `cuda_graphs` without a GPU.
    """

    def __init__(
        self, llm: PreTrainedModel, family: type[CausalLLM], quantize: str = "none", cuda_graphs: bool = False
    ):
        if cuda_graphs and llm.device.type != "cuda":
            raise ValueError(f"cuda_graphs: got an LLM on {llm.device}, wanted it on a GPU; set cuda_graphs=false")
        self._llm, self._family = llm, family
        self.shape = family.shape(llm.config)
        self._layers = [_merged_layer(llm, family, number, quantize) for number in range(self.shape.layers)]
        self._norm = _norm(llm.model.norm, llm, family)
        self._head = _joined([llm.lm_head], quantize)
        self._rotary: dict[str, tuple[Tensor, Tensor]] = {}
        weight = llm.get_input_embeddings().weight
        self._keys = self._values = weight.new_zeros(self.shape.layers, 0, self.shape.key_heads, 0, self.shape.head_dim)
        self.lengths = torch.zeros(0, dtype=torch.long)  # of the rows in use, on the CPU
        self._graphs = StepGraphs(self._extend, CACHE_BLOCK) if cuda_graphs else None

    @property
    def device(self) -> torch.device:
        return self._keys.device

    @property
    def rows(self) -> int:
        """Number of rows in use."""
        return len(self.lengths)

    def embed(self, tokens: Tensor) -> Tensor:
        return self._llm.get_input_embeddings()(tokens)

    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, width) -> (rows, vocabulary), float32."""
        return self._head(hidden).float()

    def add(self, embeddings: Tensor, lengths: Sequence[int], capacity: int, limit: int = 0) -> Tensor:
        """Append a row for each sequence.

        embeddings: (sum of lengths, width), sequences end to end; capacity: positions that the longest row will need;
        limit: positions of all rows together that the cache may keep although fewer are needed.
        Returns the hidden state of each sequence's last position: (sequences, width).
        """
        first = self.rows
        self._fit_cache(first + len(lengths), capacity, limit)
        for cache in (self._keys, self._values):
            # positions that a row does not attend to have weight 0, but 0 times NaN is NaN
            cache[:, first : first + len(lengths)] = 0
        layout = ragged.Layout(lengths, self.device)
        places = ragged.positions(lengths, self.device)
        row = torch.repeat_interleave(torch.arange(first, first + len(lengths)), torch.tensor(lengths))
        row = to_device(row, self.device)

        def attend(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            self._keys[number][row, :, places] = key
            self._values[number][row, :, places] = value
            layer = self._layers[number]
            return ragged.self_attention(query, key, value, layout, layer.scale, causal=True, window=layer.window)

        hidden = self._run(embeddings, places, max(lengths), attend)
        self.lengths = torch.cat([self.lengths, torch.tensor(lengths)])
        return self._norm(hidden[layout.offsets[1:].long() - 1])

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to every row: (rows,) -> hidden states (rows, width)."""
        longest = int(self.lengths.max()) + 1
        places = to_device(self.lengths, self.device)
        if self._graphs is not None:
            hidden = self._graphs(tokens, places, longest, (self._keys.shape[1], self._keys.shape[3]))
        else:
            hidden = self._extend(tokens, places, longest, is_full=int(self.lengths.min()) + 1 == longest)
        self.lengths = self.lengths + 1
        return hidden

    def _extend(self, tokens: Tensor, places: Tensor, positions: int, is_full: bool = False) -> Tensor:
        """Compute a step of the first rows, from the first positions. is_full: every row attends to all of them."""
        row = torch.arange(len(tokens), device=self.device)
        windows = {layer.window for layer in self._layers}
        masks = {window: self._mask(window, places, positions, is_full) for window in windows}

        def attend(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            self._keys[number][row, :, places] = key
            self._values[number][row, :, places] = value
            keys, values = (cache[number, : len(row), :, :positions] for cache in (self._keys, self._values))
            groups = query.unflatten(1, (self.shape.key_heads, -1))  # the query heads of a key head are its queries
            layer = self._layers[number]
            return _attend(groups, keys, values, layer.scale, masks[layer.window]).flatten(1, 2)

        return self._norm(self._run(self.embed(tokens), places, positions, attend))

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order; each keeps its index or moves to a lower, unused one."""
        for target, source in enumerate(rows):
            if target != source:
                length = int(self.lengths[source])
                for cache in (self._keys, self._values):
                    cache[:, target, :, :length] = cache[:, source, :, :length]
                    cache[:, target, :, length:] = 0  # as in `add`
        self.lengths = self.lengths[list(rows)]

    def rewind(self, row: int, count: int) -> None:
        """Forget the last `count` tokens of a row; the next step overwrites them."""
        self.lengths = self.lengths.clone()
        self.lengths[row] -= count

    def _mask(self, window: int | None, places: Tensor, longest: int, is_full: bool) -> Tensor | None:
        """Which positions each row's next token attends to: (rows, 1, 1, longest); None: all."""
        if is_full and (window is None or window >= longest):
            return None
        positions = torch.arange(longest, device=self.device)
        seen = positions <= places[:, None]
        if window is not None:
            seen &= positions > places[:, None] - window
        return seen[:, None, None]

    def _run(
        self, hidden: Tensor, places: Tensor, longest: int, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]
    ) -> Tensor:
        """All layers over new positions (n, width); places: their positions in sequences of at most `longest`."""
        sizes = [self.shape.heads, self.shape.key_heads, self.shape.key_heads]
        tables = {name: self._rotations(longest, name) for name in {layer.layer_type for layer in self._layers}}
        turns = {name: (cos[places], sin[places]) for name, (cos, sin) in tables.items()}
        for number, layer in enumerate(self._layers):
            cos, sin = turns[layer.layer_type]
            fused = layer.query_key_value(layer.before_attention(hidden)).unflatten(1, (-1, self.shape.head_dim))
            query, key, value = fused.split(sizes, 1)
            query, key = _rotate(layer.of_query(query), cos, sin), _rotate(layer.of_key(key), cos, sin)
            hidden = hidden + layer.after_attention(layer.output(attend(number, query, key, value).flatten(1)))
            gate, up = layer.gate_up(layer.before_mlp(hidden)).chunk(2, -1)
            hidden = hidden + layer.after_mlp(layer.down(layer.activation(gate) * up))
        return hidden

    def _rotations(self, positions: int, layer_type: str) -> tuple[Tensor, Tensor]:
        """cos and sin of every position: (positions, 1, head_dim) each."""
        if layer_type not in self._rotary or len(self._rotary[layer_type][0]) < positions:
            places = torch.arange(-(-positions // CACHE_BLOCK) * CACHE_BLOCK, device=self.device)
            cos, sin = self._family.rotations(self._llm, places, layer_type)
            self._rotary[layer_type] = cos[:, None], sin[:, None]
        return self._rotary[layer_type]

    def _fit_cache(self, rows: int, positions: int, limit: int) -> None:
        """Fit the cache to these rows and positions; a larger one is kept within `limit`, or while it is in use."""
        _, has_rows, _, has_positions, _ = self._keys.shape
        rounded = -(-positions // CACHE_BLOCK) * CACHE_BLOCK
        positions = max(positions, min(rounded, limit // rows))
        may_keep = self.rows > 0 or has_rows * has_positions <= max(limit, rows * positions)
        if rows <= has_rows and positions <= has_positions and may_keep:
            return
        if max(rows, has_rows) * max(positions, has_positions) <= limit:
            rows, positions = max(rows, has_rows), max(positions, has_positions)
        resized = [self._resized(old, rows, positions) for old in (self._keys, self._values)]
        self._keys, self._values = resized  # both or none, even if memory runs out
        if self._graphs is not None:
            self._graphs.clear()
            for layer_type in {layer.layer_type for layer in self._layers}:
                self._rotations(positions, layer_type)  # for the whole cache, so that no step replaces a table

    def _resized(self, old: Tensor, rows: int, positions: int) -> Tensor:
        new = old.new_zeros(len(self._layers), rows, self.shape.key_heads, positions, self.shape.head_dim)
        kept = min(positions, old.shape[3])
        new[:, : self.rows, :, :kept] = old[:, : self.rows, :, :kept]
        return new


def _attend(query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """query: (rows, key heads, queries, head_dim); keys, values: (rows, key heads, positions, head_dim).

    For a few queries, plain products take half the time of torch's fused attention on a CPU.
    """
    if query.is_cuda:
        return functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scale)
    scores = (query * scale @ keys.transpose(-1, -2)).float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1).to(values.dtype) @ values


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al., 2021), on halves of the head dimension. heads: (n, heads, head_dim)."""
    first, second = heads.chunk(2, -1)
    return heads * cos + torch.cat([-second, first], -1) * sin


def _merged_layer(llm: PreTrainedModel, family: type[CausalLLM], number: int, quantize: str) -> _Layer:
    layer = llm.model.layers[number]
    attention, mlp = layer.self_attn, layer.mlp
    surrounded = hasattr(layer, "pre_feedforward_layernorm")  # else, post_attention_layernorm precedes the MLP
    after_attention = layer.post_attention_layernorm if surrounded else None
    before_mlp = layer.pre_feedforward_layernorm if surrounded else layer.post_attention_layernorm
    return _Layer(
        query_key_value=_joined([attention.q_proj, attention.k_proj, attention.v_proj], quantize),
        output=_joined([attention.o_proj], quantize),
        gate_up=_joined([mlp.gate_proj, mlp.up_proj], quantize),
        down=_joined([mlp.down_proj], quantize),
        activation=mlp.act_fn,
        before_attention=_norm(layer.input_layernorm, llm, family),
        after_attention=_norm(after_attention, llm, family),
        before_mlp=_norm(before_mlp, llm, family),
        after_mlp=_norm(getattr(layer, "post_feedforward_layernorm", None), llm, family),
        of_query=_norm(getattr(attention, "q_norm", None), llm, family),
        of_key=_norm(getattr(attention, "k_norm", None), llm, family),
        scale=attention.scaling,
        window=family.window(llm, number),
        layer_type=family.layer_type(llm, number),
    )


def _norm(norm: nn.Module | None, llm: PreTrainedModel, family: type[CausalLLM]) -> Callable[[Tensor], Tensor]:
    return nn.Identity() if norm is None else _Norm(family.norm_gain(norm), llm.config.rms_norm_eps)


@torch.no_grad()
def _joined(linears: Sequence[nn.Module], quantize: str) -> Linear:
    """Join linear layers with the same input. Raises ValueError if only some have biases."""
    if len(linears) == 1 and linears[0].bias is None:
        return linear(_merged(linears[0]), None, quantize)
    biases = [one.bias for one in linears]
    if any(bias is None for bias in biases) and any(bias is not None for bias in biases):
        raise ValueError("got an LLM in which only some of query, key and value have biases; wanted all or none")
    weight = torch.cat([_merged(one) for one in linears])
    return linear(weight, None if biases[0] is None else torch.cat(biases).detach(), quantize)


@torch.no_grad()
def _merged(layer: nn.Module) -> Tensor:
    """W0 + scaling B A of PEFT's LoRA layer, added in float32; the plain weight of any other linear layer."""
    if not hasattr(layer, "get_delta_weight"):
        return layer.weight.detach()
    weight = layer.get_base_layer().weight
    for name in layer.active_adapters:
        weight = weight.float() + layer.get_delta_weight(name).float()
    return weight.to(layer.get_base_layer().weight.dtype)
