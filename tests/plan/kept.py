"""Measure the bytes that autograd saves, to compare with the estimate."""

from __future__ import annotations

import torch
from torch import nn


class KeptBytes:
    """Context manager that counts the bytes saved by a forward pass for the backward pass, without parameters."""

    def __init__(self, model: nn.Module):
        self._own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
        self._storages = {}  # kept alive, so that no address is reused
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    @property
    def total(self) -> int:
        return sum(storage.nbytes() for storage in self._storages.values())

    def __enter__(self) -> KeptBytes:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own:
            self._storages[storage.data_ptr()] = storage
        return tensor
