"""Sequences of unequal length, laid end to end without padding: their index arithmetic and their attention.

A ragged batch is one tensor (sum of lengths, ...) and the list of lengths. Linear layers and norms work on it as
it is; only attention and convolution must know where one sequence ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn


class Layout:
    """Where each sequence of a ragged batch lies. Made once per batch: every layer's attention reads it.

    Indices are worked out on the CPU, where the lengths are known, so that no layer waits for the device.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device):
        self.lengths = tuple(lengths)
        self.longest = max(lengths)
        self.equal = min(lengths) == self.longest
        self._device = device

    @cached_property
    def offsets(self) -> Tensor:
        """Where each sequence starts, and the end of the last: (sequences + 1,), int32, as FlashAttention wants it."""
        ends = torch.as_tensor((0, *self.lengths)).cumsum(0)
        return ends.to(self._device, torch.int32, non_blocking=True)

    @cached_property
    def rooms(self) -> Tensor:
        """Each item's place where every sequence has the longest one's room: (sum of lengths,)."""
        return slots(self.lengths, [self.longest] * len(self.lengths), self._device)

    @cached_property
    def inside(self) -> Tensor:
        """True on the items, False on what fills up the rooms: (sequences, 1, 1, longest)."""
        sizes = torch.as_tensor(self.lengths)[:, None]
        return (torch.arange(self.longest) < sizes).to(self._device, non_blocking=True)[:, None, None]


def positions(lengths: Sequence[int], device: torch.device) -> Tensor:
    """0, 1, ... within each sequence: (sum of lengths,)."""
    return _positions(lengths).to(device, non_blocking=True)


def slots(lengths: Sequence[int], rooms: Sequence[int], device: torch.device) -> Tensor:
    """Where each item lands if sequence i gets rooms[i] >= lengths[i] places in a row: (sum of lengths,)."""
    space = torch.as_tensor(rooms)
    starts = (space.cumsum(0) - space).repeat_interleave(torch.as_tensor(lengths))
    return (starts + _positions(lengths)).to(device, non_blocking=True)


def spread(items: Tensor, lengths: Sequence[int], rooms: Sequence[int]) -> Tensor:
    """Give every sequence its room, filled up with zeros: (sum of lengths, ...) -> (sum of rooms, ...)."""
    return _place(items, slots(lengths, rooms, items.device), sum(rooms))


def self_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, causal: bool = False
) -> Tensor:
    """Attention inside each sequence of a ragged batch, of every item to all or (causal) to none after it.

    query: (sum of lengths, heads, head_dim); key, value: the same, or with fewer heads, each shared by as many query
    heads (grouped-query attention). Returns query's shape. On a GPU in half precision nothing is padded; elsewhere
    sequences of equal length, as chunks are, go through as a plain batch, and others are padded here alone.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (tensor.repeat_interleave(groups, 1) for tensor in (key, value))
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        window = (-1, 0) if causal else (-1, -1)
        ends, longest = layout.offsets, layout.longest
        return varlen_attn(query, key, value, ends, ends, longest, longest, scale=scale, window_size=window)
    batch = [query, key, value]
    count = len(layout.lengths)
    if not layout.equal:
        batch = [_place(tensor, layout.rooms, count * layout.longest) for tensor in batch]
    batch = [tensor.unflatten(0, (count, layout.longest)).transpose(1, 2) for tensor in batch]
    mask = None if layout.equal or causal else layout.inside  # padding comes last: a causal query never sees it
    mixed = _attend(*batch, mask, scale, causal).transpose(1, 2).flatten(0, 1)
    return mixed if layout.equal else mixed[layout.rooms]


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, causal: bool) -> Tensor:
    """(batch, heads, length, head_dim), mask broadcast over heads and queries: torch's fused attention.

    In half precision on a CPU its kernel takes twice the time of the three plain products.
    """
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        scores = (query * scale) @ key.transpose(-1, -2)
        if causal:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(-1) @ value
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, is_causal=causal)


def _positions(lengths: Sequence[int]) -> Tensor:
    sizes = torch.as_tensor(lengths)
    return torch.arange(sum(lengths)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)


def _place(items: Tensor, places: Tensor, room: int) -> Tensor:
    """Zeros (room, ...) with the items at their places."""
    return items.new_zeros((room, *items.shape[1:])).index_copy(0, places, items)
