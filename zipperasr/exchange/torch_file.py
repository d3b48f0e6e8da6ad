"""Read torch files (.pt, .bin) as named tensors, without running any code in them.

In: a path. Out: {name: tensor}; the name joins the keys that lead to the tensor with dots. Files are unpickled with
weights_only, which raises for anything but tensors and plain values. Depth and number of nested values are limited.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

WRAPPERS = ("module", "state_dict", "model_state_dict", "model")  # keys under which trainers store a model's tensors
MAX_TENSORS, MAX_VALUES = 100_000, 5_000_000  # in the dictionaries and lists of a torch file
MAX_DEPTH, MAX_NAME = 50, 1000  # levels; characters of a tensor's name
_FOLLOWED = (Tensor, Mapping, list, tuple)
_DAMAGE = (  # exceptions of torch's unpickler on truncated or altered files
    RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError, OverflowError,
    MemoryError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def read_torch_file(path: Path) -> dict[str, Tensor]:
    """Read the model's tensors by name. Raises ValueError if the file is damaged or not safe to open."""
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            _check_stored(path)
        tree = torch.load(  # noqa: TID251  # weights_only: nothing is run
            path, map_location="cpu", weights_only=True, mmap=zipped
        )
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path}: contains more than tensors, and opening it could run code ({reason}); ask its author for a "
            "safetensors file"
        ) from error
    except _DAMAGE as error:
        reason = str(error).strip().splitlines()[0] if str(error) else "it is truncated"
        raise ValueError(f"{path}: damaged, or not a torch file ({reason}); fetch it again") from error
    tensors = _named_tensors(tree, path)
    if not tensors:
        raise ValueError(f"{path}: contains no tensors; wanted the state_dict of a model")
    return tensors


def _check_stored(path: Path) -> None:
    """Raises ValueError if an entry is compressed: torch compresses none, and it could unpack to a huge file."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{info.filename:.80} is compressed")


def _named_tensors(tree: object, path: Path) -> dict[str, Tensor]:
    """The model's tensors, found under the keys in WRAPPERS, without optimiser states.

    Raises ValueError if two tensors have the same name.
    """
    for _ in range(MAX_DEPTH):
        inner = (tree[key] for key in WRAPPERS if isinstance(tree, Mapping) and isinstance(tree.get(key), Mapping))
        wrapped = next((child for child in inner if any(True for _ in _walk(child, path))), None)
        if wrapped is None:
            break
        tree = wrapped
    tensors, places = {}, {}
    for keys, tensor in _walk(tree, path):
        name = ".".join(str(key) for key in keys)
        if name in tensors:
            both = " and ".join("".join(f"[{key!r}]" for key in place)[:150] for place in (places[name], keys))
            raise ValueError(f"{path}: two tensors are named {name:.100}, {both}; rename or remove one of them")
        tensors[name], places[name] = tensor, keys
    return tensors


def _walk(tree: object, path: Path) -> Iterator[tuple[tuple, Tensor]]:
    """Yield (keys that lead to a tensor, tensor) from nested dictionaries and lists.

    Raises ValueError if depth, number of values or length of names exceed their limits: lists that share their elements
    could otherwise need more memory than any machine has.
    """
    todo: list[tuple[tuple, object]] = [((), tree)] if isinstance(tree, _FOLLOWED) else []
    num_values = num_tensors = 0
    while todo:
        keys, value = todo.pop()
        if isinstance(value, Tensor):
            if not all(isinstance(key, str | int) for key in keys) or sum(len(str(key)) + 1 for key in keys) > MAX_NAME:
                raise ValueError(
                    f"{path}: keys of a tensor are neither text nor integers, or longer than {MAX_NAME:,} characters; "
                    "save only the model's state_dict"
                )
            num_tensors += 1
            yield keys, value
        else:
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            todo += [((*keys, key), child) for key, child in items if isinstance(child, _FOLLOWED)][::-1]
            num_values += len(value)
        if num_values > MAX_VALUES or num_tensors > MAX_TENSORS or len(keys) > MAX_DEPTH:
            raise ValueError(
                f"{path}: more than {MAX_TENSORS:,} tensors or {MAX_VALUES:,} values, or nested more than {MAX_DEPTH} "
                "levels deep; save only the model's state_dict"
            )
