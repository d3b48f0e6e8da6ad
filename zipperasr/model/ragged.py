"""Sequences of unequal length, laid end to end without padding: their index arithmetic and their attention.

A ragged batch is one tensor (sum of lengths, ...) and the list of lengths. Linear layers and norms work on it as
it is; only attention and convolution must know where one sequence ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

from zipperasr.device import to_device

MOST_PADDING = 0.1  # largest share of padding in the row of a sequence when attention pads it


@dataclass(frozen=True)
class Group:
    """Sequences of a ragged batch that attention takes as one padded batch."""

    count: int
    longest: int
    sources: Tensor  # (count * longest,) index of each slot's item in the ragged batch; 0 for padding
    inside: Tensor | None  # True on the items, (count, 1, 1, longest); None: all have the same length
    filled: Tensor  # indices of the slots that hold an item


class Layout:
    """Boundaries of the sequences of a ragged batch, computed once per batch and read by every layer's attention.

    Indices are computed on the CPU, where the lengths are known, so that no layer waits for the device.
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
        return to_device(ends.to(torch.int32), self._device)

    @cached_property
    def groups(self) -> list[Group]:
        """All sequences, in groups of similar length: padding is at most `MOST_PADDING` of a row."""
        starts = torch.as_tensor((0, *self.lengths)).cumsum(0)
        ordered = sorted(range(len(self.lengths)), key=lambda number: -self.lengths[number])
        groups, members = [], [ordered[0]]
        for number in ordered[1:]:
            if self.lengths[number] < (1 - MOST_PADDING) * self.lengths[members[0]]:
                groups.append(self._group(members, starts))
                members = []
            members.append(number)
        return [*groups, self._group(members, starts)]

    @cached_property
    def order(self) -> Tensor:
        """Index of each item of the ragged batch in the concatenated outputs of the groups: (sum of lengths,)."""
        items = torch.cat([group.sources[group.filled] for group in self.groups])
        return items.argsort()

    def _group(self, members: Sequence[int], starts: Tensor) -> Group:
        lengths = [self.lengths[number] for number in members]
        sizes, slot = torch.as_tensor(lengths)[:, None], torch.arange(max(lengths))
        inside = slot < sizes
        sources = torch.where(inside, starts[list(members)][:, None] + slot, 0)
        mask = None if inside.all() else to_device(inside[:, None, None], self._device)
        filled = inside.flatten().nonzero().flatten()
        sources, filled = (to_device(index, self._device) for index in (sources.flatten(), filled))
        return Group(len(members), max(lengths), sources, mask, filled)


def positions(lengths: Sequence[int], device: torch.device) -> Tensor:
    """0, 1, ... within each sequence: (sum of lengths,)."""
    return to_device(_positions(lengths), device)


def slots(lengths: Sequence[int], capacities: Sequence[int], device: torch.device) -> Tensor:
    """Slot of each item if sequence i gets capacities[i] >= lengths[i] slots in a row: (sum of lengths,)."""
    space = torch.as_tensor(capacities)
    starts = (space.cumsum(0) - space).repeat_interleave(torch.as_tensor(lengths))
    return to_device(starts + _positions(lengths), device)


def spread(items: Tensor, lengths: Sequence[int], capacities: Sequence[int]) -> Tensor:
    """Pad every sequence with zeros to its capacity: (sum of lengths, ...) -> (sum of capacities, ...)."""
    spaced = items.new_zeros((sum(capacities), *items.shape[1:]))
    return spaced.index_copy(0, slots(lengths, capacities, items.device), items)


@torch.compiler.disable  # the lengths change with every batch
def self_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, causal: bool = False
) -> Tensor:
    """Attention inside each sequence of a ragged batch, of every item to all or (causal) to none after it.

    query: (sum of lengths, heads, head_dim); key, value: the same, or with fewer heads, each shared by as many query
    heads (grouped-query attention). Returns query's shape. With FlashAttention (half precision on an Ampere GPU or a
    later one) nothing is padded; otherwise sequences of equal length go through as a plain batch, and others in groups
    of similar length, padded here alone.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (tensor.repeat_interleave(groups, 1) for tensor in (key, value))
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and has_flash_attention(query.device):
        window = (-1, 0) if causal else (-1, -1)
        ends, longest = layout.offsets, layout.longest
        return varlen_attn(query, key, value, ends, ends, longest, longest, scale=scale, window_size=window)
    if layout.equal:
        return _batched(query, key, value, (len(layout.lengths), layout.longest), None, scale, causal)
    mixed = []
    for group in layout.groups:
        parts = (tensor.index_select(0, group.sources) for tensor in (query, key, value))
        mask = None if causal else group.inside  # padding comes last: a causal query never sees it
        output = _batched(*parts, (group.count, group.longest), mask, scale, causal)
        mixed.append(output if group.inside is None else output.index_select(0, group.filled))
    return torch.cat(mixed).index_select(0, layout.order)


@cache
def has_flash_attention(device: torch.device) -> bool:
    """FlashAttention needs compute capability 8.0 (Ampere)."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _batched(query: Tensor, key: Tensor, value: Tensor, shape: tuple[int, int], mask, scale: float, causal: bool):
    """(count * length, heads, head_dim), with shape = (count, length): the same shape."""
    batch = (tensor.unflatten(0, shape).transpose(1, 2) for tensor in (query, key, value))
    return _attend(*batch, mask, scale, causal).transpose(1, 2).flatten(0, 1)


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
