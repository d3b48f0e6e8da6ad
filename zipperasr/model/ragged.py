"""Index arithmetic and attention for sequences of unequal length that are concatenated without padding.

A ragged batch is one tensor (sum of lengths, ...) and the list of lengths. Linear layers and norms apply to it
directly; only attention and convolution need the boundaries of sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

from zipperasr.device import to_device


class Layout:
    """Boundaries of the sequences of a ragged batch, computed once per batch and shared by all layers.

    Everything is computed on the CPU, where the lengths are known, so that no layer waits for the device.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device):
        self.lengths = tuple(lengths)
        self.longest = max(lengths)
        self._device = device

    @cached_property
    def offsets(self) -> Tensor:
        """Start of each sequence, and the end of the last: (sequences + 1,), int32, as FlashAttention expects."""
        ends = torch.as_tensor((0, *self.lengths)).cumsum(0)
        return to_device(ends.to(torch.int32), self._device)

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """Runs of consecutive sequences of equal length: (number of sequences, their length)."""
        return [(len(list(run)), length) for length, run in groupby(self.lengths)]


def positions(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Position of each item in its sequence, from 0: (sum of lengths,)."""
    return to_device(_positions(lengths), device)


def slots(lengths: Sequence[int], capacities: Sequence[int], device: torch.device) -> Tensor:
    """Slot of each item if sequence i has capacities[i] >= lengths[i] consecutive slots: (sum of lengths,)."""
    space = torch.as_tensor(capacities)
    starts = (space.cumsum(0) - space).repeat_interleave(torch.as_tensor(lengths))
    return to_device(starts + _positions(lengths), device)


def spread(items: Tensor, lengths: Sequence[int], capacities: Sequence[int]) -> Tensor:
    """Pad every sequence with zeros to its capacity: (sum of lengths, ...) -> (sum of capacities, ...)."""
    spaced = items.new_zeros((sum(capacities), *items.shape[1:]))
    return spaced.index_copy(0, slots(lengths, capacities, items.device), items)


@torch.compiler.disable  # the lengths change with every batch
def self_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    scale: float,
    causal: bool = False,
    window: int | None = None,
) -> Tensor:
    """Attention within each sequence of a ragged batch; if causal, no item attends to later ones.

    query: (sum of lengths, heads, head_dim); key, value: the same, or with fewer heads, each shared by several query
    heads (grouped-query attention). window: if causal, an item attends to itself and the window - 1 items before it
    (sliding-window attention); None: to all before it. Returns a tensor of query's shape. Nothing is padded: with
    FlashAttention (half precision on an Ampere or later GPU) all sequences are computed at once, otherwise each run of
    sequences of equal length is a plain batch.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (tensor.repeat_interleave(groups, 1) for tensor in (key, value))
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and has_flash_attention(query.device):
        size = (-1 if window is None else window - 1, 0) if causal else (-1, -1)
        ends, longest = layout.offsets, layout.longest
        return varlen_attn(query, key, value, ends, ends, longest, longest, scale=scale, window_size=size)
    sizes = [count * length for count, length in layout.runs]
    parts = zip(layout.runs, *(tensor.split(sizes) for tensor in (query, key, value)), strict=True)
    outputs = [_batched(*tensors, shape, scale, causal, window) for shape, *tensors in parts]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


@cache
def has_flash_attention(device: torch.device) -> bool:
    """FlashAttention needs compute capability 8.0 (Ampere)."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _batched(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    shape: tuple[int, int],
    scale: float,
    causal: bool,
    window: int | None,
) -> Tensor:
    """Attention over sequences of equal length: (count * length, heads, head_dim), with shape = (count, length)."""
    batch = (tensor.unflatten(0, shape).transpose(1, 2) for tensor in (query, key, value))
    hidden = None  # pairs of positions that do not attend
    if causal and window is not None and shape[1] > window:
        near = torch.ones(shape[1], shape[1], dtype=torch.bool, device=query.device)
        hidden = near.triu(1) | near.tril(-window)
    return _attend(*batch, scale, causal, hidden).transpose(1, 2).flatten(0, 1)


def _attend(query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool, hidden: Tensor | None) -> Tensor:
    """torch's fused attention. Inputs: (batch, heads, length, head_dim); hidden: (length, length), or None.

    In half precision on a CPU, plain products are used: they take half the time of the fused kernel.
    """
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        scores = (query * scale) @ key.transpose(-1, -2)
        if causal and hidden is None:
            hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        if hidden is not None:
            scores = scores.masked_fill(hidden, -torch.inf)
        return scores.softmax(-1) @ value
    if hidden is not None:
        return functional.scaled_dot_product_attention(query, key, value, scale=scale, attn_mask=~hidden)
    return functional.scaled_dot_product_attention(query, key, value, scale=scale, is_causal=causal)


def _positions(lengths: Sequence[int]) -> Tensor:
    sizes = torch.as_tensor(lengths)
    return torch.arange(sum(lengths)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
