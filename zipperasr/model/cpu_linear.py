"""Float32 linear layers for training on CPUs on which MKL does not use AVX-512.

PyTorch multiplies float32 matrices with Intel's MKL, which uses at most AVX2 on other makers' CPUs. On an AMD EPYC with
AVX-512, MKL computes 100 GFLOP/s on a core, and oneDNN 220: the same sums, in another order.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CPU_INFO = Path("/proc/cpuinfo")


def use_onednn(model: nn.Module) -> None:
    """Let oneDNN compute the float32 linear layers of `model` on the CPU if that is faster than MKL here.

    Weights, names and results in other precisions stay as they are.
    """
    if not is_faster():
        return
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.device.type == "cpu" and module.weight.dtype == torch.float32:
            module.__class__ = OneDnnLinear


@cache
def is_faster() -> bool:
    """Whether this CPU has AVX-512 and is not Intel's, and PyTorch multiplies with MKL and has oneDNN's operator."""
    has_both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    has_operator = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return has_both and has_operator and has_avx512 and _vendor() not in (None, "GenuineIntel")


def _vendor() -> str | None:
    """The CPU's maker as Linux reports it."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), None)


class OneDnnLinear(nn.Linear):
    """A linear layer whose three products in training are oneDNN's."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out)."""
        if inputs.dtype != torch.float32 or self.weight.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(inputs)
        return _Product.apply(inputs, self.weight, self.bias)


class _Product(torch.autograd.Function):
    """x W^T + b and its gradients."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _linear(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        of_inputs, of_weight, of_bias = ctx.needs_input_grad
        rows = gradient.flatten(0, -2)
        return (
            _linear(gradient, weight.T) if of_inputs else None,
            _linear(rows.T, inputs.flatten(0, -2).T) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
