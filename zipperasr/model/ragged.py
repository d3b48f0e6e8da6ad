"""Index arithmetic and attention for sequences of unequal length that are concatenated without padding.

A ragged batch is one tensor (sum of lengths, ...) and the list of lengths. Linear layers and norms apply to it
directly; only attention and convolution need the boundaries of sequences.
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

MOST_PADDING = 0.1  # largest share of padding in a row, if attention has to pad


@dataclass(frozen=True)
class Group:
    """Sequences of a ragged batch that attention processes as one padded batch."""

    count: int
    longest: int
    sources: Tensor  # (count * longest,) index of each slot's item in the ragged batch; 0 for padding
    inside: Tensor | None  # True on the items, (count, 1, 1, longest); None: all have the same length
    filled: Tensor  # indices of the slots that hold an item


class Layout:
    """Boundaries of the sequences of a ragged batch, computed once per batch and shared by all layers.

    Indices are computed on the CPU, where the lengths are known, so that no layer waits for the device.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device):
        self.lengths = tuple(lengths)
        self.longest = max(lengths)
        self.equal = min(lengths) == self.longest
        self._device = device

    @cached_property
    def offsets(self) -> Tensor:
        """Start of each sequence, and the end of the last: (sequences + 1,), int32, as FlashAttention expects."""
        ends = torch.as_tensor((0, *self.lengths)).cumsum(0)
        return to_device(ends.to(torch.int32), self._device)

    @cached_property
    def groups(self) -> list[Group]:
        """All sequences, in groups of similar length, so that padding is at most `MOST_PADDING` of a row."""
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
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, causal: bool = False
) -> Tensor:
    """Attention within each sequence of a ragged batch; if causal, no item attends to later ones.

    query: (sum of lengths, heads, head_dim); key, value: the same, or with fewer heads, each shared by several query
    heads (grouped-query attention). Returns a tensor of query's shape. With FlashAttention (half precision on an Ampere
    or later GPU) nothing is padded. Otherwise sequences of equal length form a plain batch, and others are padded in
    groups of similar length.
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
    outputs = []
    for group in layout.groups:
        parts = (tensor.index_select(0, group.sources) for tensor in (query, key, value))
        mask = None if causal else group.inside  # padding is at the end, where no causal query attends to it
        output = _batched(*parts, (group.count, group.longest), mask, scale, causal)
        outputs.append(output if group.inside is None else output.index_select(0, group.filled))
    return torch.cat(outputs).index_select(0, layout.order)


@cache
def has_flash_attention(device: torch.device) -> bool:
    """FlashAttention needs compute capability 8.0 (Ampere)."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _batched(query: Tensor, key: Tensor, value: Tensor, shape: tuple[int, int], mask, scale: float, causal: bool):
    """Attention over sequences of equal length: (count * length, heads, head_dim), with shape = (count, length)."""
    batch = (tensor.unflatten(0, shape).transpose(1, 2) for tensor in (query, key, value))
    return _attend(*batch, mask, scale, causal).transpose(1, 2).flatten(0, 1)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, causal: bool) -> Tensor:
    """torch's fused attention. Inputs: (batch, heads, length, head_dim); the mask is broadcast over heads and queries.

    In half precision on a CPU, plain products are used: they take half the time of the fused kernel.
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
