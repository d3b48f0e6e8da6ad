"""Check weights read from a file: dense tensors of known types, with finite values only.

In: a tensor, and the file and name it was read from. Out: a ValueError, or nothing. Values are scanned without a copy.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_BLOCK = 1 << 22  # values; counting needs a mask of this size


def check_values(tensor: Tensor, where: str, becomes: torch.dtype | None = None) -> None:
    """Raises ValueError if the tensor is not dense, of a known type and finite.

    where: file and tensor, for the message. becomes: type of the parameter that it is copied to; integers are not
    converted to floats, nor floats to integers.
    """
    check_kind(tensor, where)
    kinds = (*FLOATS, *INTEGERS) if becomes is None else FLOATS if becomes.is_floating_point else INTEGERS
    if tensor.dtype not in kinds:
        raise ValueError(f"{where}: got {_name(tensor.dtype)}, wanted {', '.join(map(_name, kinds))}; convert it")
    check_finite(tensor, where)


def check_kind(tensor: Tensor, where: str) -> None:
    """Raises ValueError if the tensor is sparse, quantised, on the meta device, or larger than its stored values."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
        kind = "meta" if tensor.is_meta else "quantised" if tensor.is_quantized else _name(tensor.layout)
        raise ValueError(f"{where}: got a {kind} tensor, wanted a dense one with values; convert it and save it again")
    stored = tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.numel() > stored:
        raise ValueError(
            f"{where}: shape {list(tensor.shape)}, but only {stored:,} values are stored; make it contiguous and save "
            "it again"
        )


def check_finite(tensor: Tensor, where: str) -> None:
    """Raises ValueError if any value is NaN, infinite or outside the range of float32, in which weights are trained."""
    if not tensor.is_floating_point() or not tensor.numel():
        return
    largest = torch.finfo(torch.float32).max
    low, high = torch.stack(tensor.aminmax()).tolist()  # both are NaN if any value is; needs no mask
    if not (-largest <= low and high <= largest):
        blocks = tensor.detach().reshape(-1).split(_BLOCK)
        count = sum(len(block) - int((block.double().abs() <= largest).sum()) for block in blocks)
        raise ValueError(
            f"{where}: {count:,} of {tensor.numel():,} values are NaN, infinite or beyond float32; "
            "fetch the file again, or repeat the training"
        )


def _name(kind: torch.dtype | torch.layout) -> str:
    return str(kind).removeprefix("torch.")
