"""Weights that a file holds are checked as values: plain tensors of known types, every number finite.

In: a tensor and where it is from. Out: nothing, or an error. One scan of the numbers, without a copy.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_BLOCK = 1 << 22  # numbers; what is counted for a message needs a mask


def check_values(tensor: Tensor, where: str, becomes: torch.dtype | None = None) -> None:
    """Raises ValueError that begins with `where`, which names the file and the tensor.

    becomes: the type that it will be put into: integers do not become floats, nor the other way round.
    """
    check_kind(tensor, where)
    kinds = (*FLOATS, *INTEGERS) if becomes is None else FLOATS if becomes.is_floating_point else INTEGERS
    if tensor.dtype not in kinds:
        raise ValueError(f"{where}: got {_name(tensor.dtype)}, wanted {', '.join(map(_name, kinds))}; convert it")
    check_finite(tensor, where)


def check_kind(tensor: Tensor, where: str) -> None:
    """Raises ValueError for a tensor that is sparse, without values, quantised, or larger than what is stored of it."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
        kind = "meta" if tensor.is_meta else "quantised" if tensor.is_quantized else _name(tensor.layout)
        raise ValueError(
            f"{where}: got a {kind} tensor, wanted a dense one with its values; convert it and save it again"
        )
    stored = tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.numel() > stored:
        raise ValueError(
            f"{where}: shape {list(tensor.shape)}, but {stored:,} values are stored; save it again, made contiguous"
        )


def check_finite(tensor: Tensor, where: str) -> None:
    """Raises ValueError if any value is NaN, infinite or beyond float32, in which weights are trained."""
    if not tensor.is_floating_point() or not tensor.numel():
        return
    largest = torch.finfo(torch.float32).max
    low, high = torch.stack(tensor.aminmax()).tolist()  # NaN wins in both; no mask of the tensor's size
    if not (-largest <= low and high <= largest):
        blocks = tensor.detach().reshape(-1).split(_BLOCK)
        count = sum(len(block) - int((block.double().abs() <= largest).sum()) for block in blocks)
        raise ValueError(
            f"{where}: {count:,} of {tensor.numel():,} values are NaN, infinite or beyond float32; "
            "fetch the file again, or train anew"
        )


def _name(kind: torch.dtype | torch.layout) -> str:
    return str(kind).removeprefix("torch.")
