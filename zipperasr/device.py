"""Asynchronous copies to a GPU."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return `tensor` on `device`; copies to a GPU are asynchronous, from pinned memory.

    From pageable memory, CUDA copies more than 64 KiB only after its queue is empty, and the host waits for that.
    """
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
