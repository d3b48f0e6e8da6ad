"""Sequences of unequal length, laid end to end without padding: their index arithmetic and their attention.

A ragged batch is one tensor (sum of lengths, ...) and the list of lengths. Linear layers and norms work on it as
it is; only attention and convolution must know where one sequence ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def positions(lengths: Sequence[int], device: torch.device) -> Tensor:
    """0, 1, ... within each sequence: (sum of lengths,)."""
    sizes = torch.as_tensor(lengths, device=device)
    starts = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    return torch.arange(len(starts), device=device) - starts


def slots(lengths: Sequence[int], rooms: Sequence[int], device: torch.device) -> Tensor:
    """Where each item lands if sequence i gets rooms[i] >= lengths[i] places in a row: (sum of lengths,)."""
    sizes, space = torch.as_tensor(lengths, device=device), torch.as_tensor(rooms, device=device)
    starts = torch.repeat_interleave(space.cumsum(0) - space, sizes)
    return starts + positions(lengths, device)


def spread(items: Tensor, lengths: Sequence[int], rooms: Sequence[int]) -> Tensor:
    """Give every sequence its room, filled up with zeros: (sum of lengths, ...) -> (sum of rooms, ...)."""
    spaced = items.new_zeros((sum(rooms), *items.shape[1:]))
    return spaced.index_copy(0, slots(lengths, rooms, items.device), items)


def self_attention(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scale: float) -> Tensor:
    """Bidirectional attention inside each sequence of a ragged batch.

    query, key, value: (sum of lengths, heads, head_dim). Returns the same shape. Sequences of equal length, as
    chunks are, go through as a plain batch; others are padded here alone, and the padding is masked.
    """
    count, longest = len(lengths), max(lengths)
    equal = min(lengths) == longest
    batch, mask = [query, key, value], None
    if not equal:
        rooms = [longest] * count
        index = slots(lengths, rooms, query.device)
        batch = [spread(tensor, lengths, rooms) for tensor in batch]
        sizes = torch.as_tensor(lengths, device=query.device)
        mask = (torch.arange(longest, device=query.device) < sizes[:, None])[:, None, None]
    batch = [tensor.unflatten(0, (count, longest)).transpose(1, 2) for tensor in batch]
    mixed = _attend(*batch, mask, scale)
    mixed = mixed.transpose(1, 2).flatten(0, 1)
    return mixed if equal else mixed[index]


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """(batch, heads, length, head_dim), mask broadcast over heads and queries: torch's fused attention.

    In half precision on a CPU its kernel takes twice the time of the three plain products.
    """
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        scores = (query * scale) @ key.transpose(-1, -2)
        scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(-1) @ value
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
