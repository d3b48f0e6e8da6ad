"""Read DeepSpeed's checkpoint files without running code that they may contain."""

from __future__ import annotations

import pickle

import torch


def load_tensors(path: str, map_location: object = None, mmap: bool = False) -> dict:
    """Replacement for DeepSpeed's `load`, which unpickles any object. Loads tensors and the four classes it writes.

    mmap: read tensors from the disk only when they are used.

    Raises ValueError if the file holds anything else.
    """
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    try:
        with torch.serialization.safe_globals([DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]):
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)  # noqa: TID251  # runs nothing
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: contains objects that a checkpoint does not need, and loading them could run code; remove this "
            "checkpoint to resume from the previous one"
        ) from error
