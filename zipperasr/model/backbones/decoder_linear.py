"""Linear layers of an LLM that only decodes: plain, packed for the CPU, or quantised to int8.

Packing and int8 products are oneDNN's, through the operators that torch.compile uses. They are not part of PyTorch's
public interface: a version without them leaves the weights plain, and `quantize: int8` is an error.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from zipperasr.model.cpu_products import has_kernel

Linear = Callable[[Tensor], Tensor]  # (rows, d_in) -> (rows, d_out)
PACKED_FROM = 2**17  # weights; calling oneDNN for one row takes 10 us longer than calling MKL
ROWS = 32  # row count the packing is tuned for


def linear(weight: Tensor, bias: Tensor | None, quantize: str = "none") -> Linear:
    """Return a function that computes x W^T + b in the fastest form for the weight's device.

    weight: (d_out, d_in); quantize: none or int8. Raises ValueError if this device or version of PyTorch has no int8.
    """
    if quantize == "int8":
        return _Int8(weight, bias)
    if _can_pack(weight):
        return _Packed(weight, bias)
    return lambda inputs: functional.linear(inputs, weight, bias)


def _can_pack(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or weight.numel() < PACKED_FROM or not torch.backends.mkldnn.is_available():
        return False
    has_operators = all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight"))
    is_fast = weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and has_kernel(weight.dtype))
    return has_operators and is_fast


class _Packed:
    """A copy of the weights in the order in which oneDNN reads them: the same sums, in another order."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self._weight, self._bias = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS), bias

    def __call__(self, inputs: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(inputs.contiguous(), self._weight, self._bias, "none", [], "")


class _Int8:
    """Weights with one scale per output, inputs with one scale per row, so that no row depends on another.

    y = s_x s_w (q_x q_w^T) + b, with q_w in -127..127 and q_x in -127..127, stored with 128 added because oneDNN has
    fast products of unsigned and signed numbers. CPUs without VNNI add pairs of products in 16 bits, which 7-bit
    inputs (-63..63, with 64 added) cannot exceed.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None):
        has_products = torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_pointwise")
        if weight.device.type != "cpu" or not has_products:
            raise ValueError(
                f"quantize: int8 got an LLM on {weight.device.type} with torch {torch.__version__}; it needs a CPU and "
                "oneDNN's int8 products: set quantize=none"
            )
        exact = weight.float()
        self._scale = exact.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        rounded = (exact / self._scale[:, None]).round().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._no_offset, self._bias = torch.zeros(len(weight), dtype=torch.long), bias
        self._most = 127 if torch.cpu._is_vnni_supported() else 63

    def __call__(self, inputs: Tensor) -> Tensor:
        exact = inputs.float()
        scale = exact.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / self._most
        offset = self._most + 1
        rounded = (exact / scale + (offset + 0.5)).to(torch.uint8)  # rounds down
        weights = self._weight, self._scale, self._no_offset
        output = 1.0, 0, torch.float32, "none", [], ""
        product = torch.ops.onednn.qlinear_pointwise(rounded, 1.0, offset, *weights, None, *output)
        product = product.mul_(scale).to(inputs.dtype)
        return product if self._bias is None else product + self._bias
