"""Open safetensors files; a damaged one raises a ValueError that names it.

In: a path. Out: safetensors' own reader, or tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from zipperasr.model.tensor_values import check_values


@contextmanager
def open_weights(path: str | Path, called: str | None = None) -> Iterator[safe_open]:
    """safe_open for torch. called: name of the file in errors; None: its path.

    Raises ValueError if the file is truncated, not a safetensors file, or lacks a requested tensor.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            yield stream
    except SafetensorError as error:
        raise ValueError(
            f"{called or path}: damaged, or not a safetensors file ({error!s:.200}); write or fetch it again"
        ) from error


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Read all tensors, by name. Raises ValueError like `check_weights`."""
    return dict(_checked(path))


def check_weights(path: str | Path, called: str | None = None) -> None:
    """Raises ValueError if the file is damaged, the type of a tensor is unknown, or a value is NaN or infinite."""
    for _ in _checked(path, called):
        pass


def _checked(path: str | Path, called: str | None = None) -> Iterator[tuple[str, Tensor]]:
    with open_weights(path, called) as stream:
        for name in stream.keys():  # noqa: SIM118
            tensor = stream.get_tensor(name)
            check_values(tensor, f"{called or path}: {name}")
            yield name, tensor


def shapes(path: str | Path) -> dict[str, tuple[tuple[int, ...], int]]:
    """{name: (shape, number of values)} of all tensors, from the header alone."""
    with open_weights(path) as stream:
        found = {name: tuple(stream.get_slice(name).get_shape()) for name in stream.keys()}  # noqa: SIM118
    return {name: (shape, math.prod(shape)) for name, shape in found.items()}


def few(names: list[str], most: int = 4) -> str:
    """List at most `most` names, and say how many more there are."""
    shown = ", ".join(names[:most]) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
