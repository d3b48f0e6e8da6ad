"""Initialise a model from a PEFT LoRA that was trained on the same encoder.

In: a PEFT adapter, a new model for the adaptation. Out: the model with A and B_shared from the adapter, whose scaling
is merged into B. B_spec is a copy of B_shared, so that every language starts from the adapter regardless of the router,
or zero. The router is initialised as usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zipperasr.exchange.foreign import Entry, open_checkpoint
from zipperasr.exchange.peft_adapter import CONFIG
from zipperasr.exchange.peft_config import read_lora_config
from zipperasr.model.speech_llm import SpeechLLM
from zipperasr.model.weights_file import few

SPECIFIC = ("copy", "zero")
_FACTORS = (".lora_A.weight", ".lora_B.weight")
_WRAPPINGS = ("base_model.model.", "model.", "encoder.")  # of PEFT, of a Whisper with a head, of WhisperModel


@dataclass(frozen=True)
class Adapter:
    """A PEFT LoRA, by the layers of WhisperEncoder."""

    path: Path
    rank: int
    alpha: float
    scaling: float  # of B A
    factors: Mapping[str, tuple[Tensor, Tensor]]  # layer: A (rank, d_in), B (d_out, rank)
    others: tuple[str, ...]  # tensors that are not A or B of an encoder layer


def read_adapter(directory: Path) -> Adapter:
    """Read a PEFT adapter. Raises FileNotFoundError, or ValueError unless it is a plain LoRA of the configured rank."""
    if not (directory / CONFIG).is_file():
        raise FileNotFoundError(f"{directory / CONFIG}: missing; wanted the directory of a PEFT adapter")
    facts = read_lora_config(directory / CONFIG)
    entries = open_checkpoint(directory)
    downs, ups = (_by_layer(entries, ending, directory) for ending in _FACTORS)
    names = {layer: (downs[layer], ups[layer]) for layer in downs if layer in ups and not layer.startswith("decoder.")}
    for down, up in names.values():
        _check_rank(entries[down].shape, entries[up].shape, facts.rank, f"{directory / CONFIG}: r: {facts.rank}", down)
    factors = {layer: tuple(entries[name].load().float() for name in pair) for layer, pair in names.items()}
    others = tuple(name for name in entries if not name.endswith(_FACTORS) or _layer(name) not in factors)
    return Adapter(directory, facts.rank, facts.alpha, facts.scaling, factors, others)


def _by_layer(entries: Mapping[str, Entry], ending: str, directory: Path) -> dict[str, str]:
    """{layer: name of its A or B}. Raises ValueError if two tensors belong to the same layer."""
    found = {}
    for name in entries:
        if name.endswith(ending):
            if _layer(name) in found:
                raise ValueError(
                    f"{directory}: {found[_layer(name)]:.150} and {name:.150} belong to the same layer; remove one"
                )
            found[_layer(name)] = name
    return found


def _check_rank(down: tuple[int, ...], up: tuple[int, ...], rank: int, source: str, name: str) -> None:
    """Raises ValueError if A or B does not have the configured rank, which determines the scaling alpha / r."""
    if len(down) != 2 or len(up) != 2 or down[0] != rank or up[1] != rank:
        raise ValueError(
            f"{source}, but {name:.150} and its B are {list(down)} and {list(up)}, wanted [r, d_in] and [d_out, r]; "
            "correct r, or fetch the adapter again"
        )


@torch.no_grad()
def start_from(model: SpeechLLM, adapter: Adapter, specific: str, partial: bool) -> list[str]:
    """Initialise the model's layers from the adapter; returns the layers that the adapter does not have.

    partial: allow such layers, which start without an update, and ignore those of the decoder; otherwise both are
    errors. Raises ValueError naming layers that are missing, unknown or misshapen, or if the variant is unsupported.
    """
    layers = model.adapters.layers
    type(next(iter(layers.values()))).check_plain_start(specific)
    missing = [name for name in layers if name not in adapter.factors]
    unknown = [name for name in adapter.factors if name not in layers]
    decoders = [name for name in adapter.others if ".decoder." in name] if partial else []
    others = sorted(set(adapter.others) - set(decoders))
    if unknown or others or (missing and not partial) or not adapter.factors:
        raise ValueError(
            f"{adapter.path}: does not fit the encoder's layers: missing {few(missing)}; unknown {few(unknown)}; "
            f"not A or B of an encoder layer {few(others, 1)}; --partial accepts adapters of some encoder layers"
        )
    for name, (down, up) in adapter.factors.items():
        layer = layers[name]
        wanted = ((layer.rank, layer.base.in_features), (layer.base.out_features, layer.rank))
        if (tuple(down.shape), tuple(up.shape)) != wanted:
            raise ValueError(
                f"{adapter.path}: {name}: got A {list(down.shape)} and B {list(up.shape)}, wanted {list(wanted[0])} "
                f"and {list(wanted[1])}; use an adapter that was trained on this encoder"
            )
        layer.start_from_plain(down, up * (adapter.scaling / layer.scaling), specific)
    return missing


def _layer(name: str) -> str:
    """Layer of a tensor by its name in WhisperEncoder; layers of the decoder keep the prefix `decoder.`."""
    for wrapping in _WRAPPINGS:
        name = name.removeprefix(wrapping)
    return name.partition(".lora_")[0]
