"""Save and strictly load trained parameters: one safetensors file without the frozen ones.

Language banks are stored with their language codes and matched by code, so a checkpoint still loads after languages
were added to or reordered in the language table.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zipperasr.atomic import atomic_path
from zipperasr.lora import VARIANTS
from zipperasr.lora.base import BANK_NAMES
from zipperasr.model.tensor_values import check_values
from zipperasr.model.weights_file import few, open_weights

if TYPE_CHECKING:
    from zipperasr.model.speech_llm import SpeechLLM

EMBEDDINGS = "adapters.router.embeddings"
ADAPTED = ("encoder.", "adapters.")  # name prefixes of the encoder's LoRA and its router, in an adaptation


def save_trained(model: nn.Module, path: str | Path, state: dict[str, Tensor] | None = None) -> None:
    """Write all trainable parameters and the adapters' buffers to `path`. state: write these tensors instead."""
    model = _unwrap(model)
    tensors = state if state is not None else trained_state(model)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    codes = list(model.adapters.own_codes) if model.adapters is not None else []
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"language_codes": json.dumps(codes)})


def trained_state(model: SpeechLLM) -> dict[str, Tensor]:
    """{name: tensor} that `save_trained` writes. Stacked banks are cut to the languages that this training updates."""
    state = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if model.adapters is not None:
        kept = model.state_dict(keep_vars=True).keys()
        saved = ("adapters.", *(f"{name}." for name in model.adapted_layers))
        state.update({name: b for name, b in model.named_buffers() if name.startswith(saved) and name in kept})
        first = len(model.adapters.language_codes) - len(model.adapters.own_codes)
        if first:
            state = {name: tensor.detach()[first:] if _has_banks(name) else tensor for name, tensor in state.items()}
    return state


def load_trained(model: SpeechLLM, path: str | Path) -> int:
    """Load a file written by `save_trained` into a model with the same trainable parts. Returns the number of tensors.

    Raises FileNotFoundError, or ValueError naming tensors that are missing, unexpected, misshapen or not finite.
    """
    loaded, codes = _read(Path(path))
    expected = trained_state(model)
    _copy(loaded, codes, expected, model, path)
    return len(loaded)


def load_parts(model: SpeechLLM, path: str | Path, endings: tuple[str, ...]) -> int:
    """Load only the tensors whose names end in one of `endings`, as strictly as `load_trained`."""
    loaded, codes = _read(Path(path))
    expected = {name: tensor for name, tensor in trained_state(model).items() if name.endswith(endings)}
    _copy({name: t for name, t in loaded.items() if name.endswith(endings)}, codes, expected, model, path)
    return len(expected)


def count_trained(path: Path, learns_embeddings: bool = False) -> tuple[int, int]:
    """Number of trained parameters in the file of an adaptation, without buffers: (encoder LoRA and router, all).

    learns_embeddings: whether the router's language embeddings are parameters.
    """
    with open_weights(path) as stream:
        sizes = {name: math.prod(stream.get_slice(name).get_shape()) for name in stream.keys()}  # noqa: SIM118
    for layer in {name.rpartition(".")[0] for name in sizes}:
        for variant in VARIANTS.values():
            buffers = {f"{layer}.{name}" for name in variant.saved_buffers}
            if buffers <= sizes.keys():  # the layer is of this variant
                sizes = {name: size for name, size in sizes.items() if name not in buffers}
    if not learns_embeddings:
        sizes.pop(EMBEDDINGS, None)
    return sum(size for name, size in sizes.items() if name.startswith(ADAPTED)), sum(sizes.values())


def _read(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no trained weights; finish the training of this directory first")
    with open_weights(path) as stream:
        return {name: stream.get_tensor(name) for name in stream.keys()}, _codes(stream.metadata(), path)  # noqa: SIM118


def _codes(metadata: dict[str, str] | None, path: Path) -> list[str]:
    text = (metadata or {}).get("language_codes", "[]")
    try:
        codes = json.loads(text)
    except (ValueError, RecursionError):
        codes = None
    if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
        raise ValueError(f"{path}: got language_codes {text!r:.80}, wanted a JSON list of codes; save the file again")
    return codes


@torch.no_grad()
def _copy(
    loaded: dict[str, Tensor], codes: list[str], expected: dict[str, Tensor], model: SpeechLLM, path: str | Path
) -> None:
    missing, unexpected = sorted(expected.keys() - loaded.keys()), sorted(loaded.keys() - expected.keys())
    if missing or unexpected:
        raise ValueError(f"{path}: does not fit this model: missing {few(missing)}; unexpected {few(unexpected)}")
    for name, tensor in loaded.items():
        check_values(tensor, f"{path}: {name}", expected[name].dtype)
        if _has_banks(name):
            tensor = _in_model_order(tensor, codes, model.adapters.own_codes, f"{path}: {name}")
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{path}: {name}: got shape {tuple(tensor.shape)}, wanted {tuple(expected[name].shape)}; "
                "use the rank, widths and languages that it was trained with"
            )
        expected[name].copy_(tensor)


def _in_model_order(tensor: Tensor, codes: list[str], wanted: tuple[str, ...], where: str) -> Tensor:
    absent = [code for code in wanted if code not in codes]
    if absent:
        raise ValueError(f"{where}: no bank for {few(absent)}; the file has banks for {few(codes, 20)}")
    return tensor[[codes.index(code) for code in wanted]]


def _has_banks(name: str) -> bool:
    return name.rpartition(".")[2] in BANK_NAMES or name == EMBEDDINGS


def _unwrap(model: nn.Module) -> SpeechLLM:
    return model.module if hasattr(model, "module") else model
