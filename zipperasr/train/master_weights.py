"""The optimiser's float32 master weights, exactly as they were loaded.

DeepSpeed 0.19 casts the model to bf16 or fp16 before it copies the master weights from it. That would round Whisper's
encoder, which the alignment trains, by up to 0.4 %: bf16 has 8 significant bits, the published float16 weights 11.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def float32_weights(model: nn.Module) -> dict[nn.Parameter, Tensor]:
    """What trains, before DeepSpeed casts it."""
    return {p: p.data for p in model.parameters() if p.requires_grad and p.dtype == torch.float32}


def restore_master_weights(exact: dict[nn.Parameter, Tensor]) -> None:
    """Write `exact` into the master copy of each parameter that ZeRO-1 or ZeRO-2 has cast."""
    from deepspeed.utils import safe_set_full_fp32_param

    for parameter, value in exact.items():
        if parameter.dtype != value.dtype:
            safe_set_full_fp32_param(parameter, value)
