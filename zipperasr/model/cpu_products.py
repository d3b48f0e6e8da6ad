"""Products of half-precision tensors on CPUs that have no instructions for them.

PyTorch falls back to loops there. On a CPU with AVX2 but not AVX-512, the gradient of a linear layer's input takes 200
times as long in bfloat16 as in float32, and a rehearsal of full scale would take hours instead of minutes.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

HALVES = (torch.bfloat16, torch.float16)
PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.baddbmm.default,
    torch.ops.aten.convolution.default,
    torch.ops.aten.convolution_backward.default,
    # in inference mode, what would call those
    torch.ops.aten.linear.default,
    torch.ops.aten.matmul.default,
    torch.ops.aten.conv1d.default,
}
FEW_ROWS = 13  # at 2,048 x 151,936 weights in bfloat16 on a CPU with AVX2, a row takes 0.06 s, a copy 0.84 s


def fast_products(precision: torch.dtype) -> contextlib.AbstractContextManager:
    """`Float32Products` where they are faster, else a context that changes nothing."""
    is_slow = precision in HALVES and not torch.cuda.is_available() and not has_kernel(precision)
    return Float32Products() if is_slow else contextlib.nullcontext()


def has_kernel(precision: torch.dtype) -> bool:
    """Whether oneDNN multiplies tensors of this half precision on this CPU; otherwise PyTorch does, in loops."""
    kernels = torch.ops.mkldnn
    is_supported = {torch.bfloat16: kernels._is_mkldnn_bf16_supported, torch.float16: kernels._is_mkldnn_fp16_supported}
    return is_supported[precision]()


class Float32Products(TorchDispatchMode):
    """Computes products of half-precision CPU tensors in float32, then rounds them.

    Sums are accumulated in float32 either way; only their order changes.
    """

    def __torch_dispatch__(self, function, types, args=(), kwargs=None) -> Any:
        kwargs = kwargs or {}
        if function not in PRODUCTS or (precision := _half_precision(args)) is None or _is_a_token(function, args):
            return function(*args, **kwargs)
        exact = function(*tree_map_only(Tensor, Tensor.float, args), **kwargs)
        return tree_map_only(Tensor, lambda product: product.to(precision), exact)


def _is_a_token(function, args: tuple) -> bool:
    """Whether a layer gets few rows, as in decoding: PyTorch's loops take less time than a copy of the weights."""
    return function == torch.ops.aten.linear.default and args[0].numel() < FEW_ROWS * args[0].shape[-1]


def _half_precision(args: tuple) -> torch.dtype | None:
    return next((x.dtype for x in args if isinstance(x, Tensor) and x.is_cpu and x.dtype in HALVES), None)
