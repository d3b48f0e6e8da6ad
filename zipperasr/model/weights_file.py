"""safetensors files, opened so that a damaged one is one line.

In: a path. Out: safetensors' own reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor


@contextmanager
def open_weights(path: str | Path) -> Iterator[safe_open]:
    """safe_open for torch. Raises ValueError if the file is cut, garbage or lacks a tensor that is asked for."""
    try:
        with safe_open(path, framework="pt") as stream:
            yield stream
    except SafetensorError as error:
        raise ValueError(
            f"{path}: damaged, or not a safetensors file ({error!s:.200}); write or fetch it again"
        ) from error


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """All tensors by name."""
    with open_weights(path) as stream:
        return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
