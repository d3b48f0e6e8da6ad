"""A PEFT LoRA, trained by others on the same encoder, as the start of a model of ours.

In: a PEFT adapter, a fresh model of Stage 2. Out: A and B_shared from the adapter, its scaling folded into B. B_spec is
a copy, so that every language starts as the adapter whatever the router says, or zero. The router starts as always.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig
from torch import Tensor

from zipperasr.exchange.foreign import open_checkpoint
from zipperasr.exchange.peft_adapter import CONFIG
from zipperasr.lora.base import LoraLinear
from zipperasr.lora.flylora import FlyLora
from zipperasr.lora.independent import Independent
from zipperasr.lora.zipper_static import ZipperStatic
from zipperasr.model.checkpoint import few
from zipperasr.model.speech_llm import SpeechLLM

SPECIFIC = ("copy", "zero")
_FACTORS = (".lora_A.weight", ".lora_B.weight")
_WRAPPINGS = ("base_model.model.", "model.", "encoder.")  # PEFT's, a Whisper with a head's, WhisperModel's


@dataclass(frozen=True)
class Adapter:
    """One PEFT LoRA by the layers of WhisperEncoder."""

    path: Path
    rank: int
    alpha: float
    scaling: float  # of B A
    factors: Mapping[str, tuple[Tensor, Tensor]]  # layer: A (rank, d_in), B (d_out, rank)
    others: tuple[str, ...]  # tensors that are no factor of an encoder's layer


def read_adapter(directory: Path) -> Adapter:
    """Raises FileNotFoundError or ValueError if it is no plain LoRA of one rank."""
    if not (directory / CONFIG).is_file():
        raise FileNotFoundError(f"{directory / CONFIG}: missing; wanted a PEFT adapter's directory")
    config = LoraConfig.from_pretrained(str(directory))
    unlike = {
        "peft_type": getattr(config.peft_type, "value", config.peft_type) != "LORA",
        "use_dora": getattr(config, "use_dora", False),
        "rank_pattern": getattr(config, "rank_pattern", None),
        "alpha_pattern": getattr(config, "alpha_pattern", None),
        "layer_replication": getattr(config, "layer_replication", None),
    }
    if any(unlike.values()):
        raise ValueError(f"{directory / CONFIG}: {', '.join(k for k, v in unlike.items() if v)}: not one plain LoRA")
    entries = open_checkpoint(directory)
    downs = {_layer(name): entry for name, entry in entries.items() if name.endswith(_FACTORS[0])}
    ups = {_layer(name): entry for name, entry in entries.items() if name.endswith(_FACTORS[1])}
    factors = {
        layer: (downs[layer].load().float(), ups[layer].load().float())
        for layer in downs
        if layer in ups and not layer.startswith("decoder.")
    }
    others = tuple(name for name in entries if not name.endswith(_FACTORS) or _layer(name) not in factors)
    scaling = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
    return Adapter(directory, config.r, config.lora_alpha, scaling, factors, others)


@torch.no_grad()
def start_from(model: SpeechLLM, adapter: Adapter, specific: str, partial: bool) -> list[str]:
    """Put the adapter into every layer; returns the layers that it does not have.

    partial: such layers start as ever, without an update, and the decoder's factors are left behind; otherwise both are
    errors. Raises ValueError naming layers that are missing, unknown or misshapen, or a variant that cannot start so.
    """
    layers = model.adapters.layers
    _check_variant(next(iter(layers.values())), specific)
    missing = [name for name in layers if name not in adapter.factors]
    unknown = [name for name in adapter.factors if name not in layers]
    decoders = [name for name in adapter.others if ".decoder." in name] if partial else []
    others = sorted(set(adapter.others) - set(decoders))
    if unknown or others or (missing and not partial) or not adapter.factors:
        raise ValueError(
            f"{adapter.path}: does not fit the encoder's layers: missing {few(missing)}; unknown {few(unknown)}; "
            f"no factors of the encoder {few(others, 1)}; --partial takes what there is of the encoder"
        )
    for name, (down, up) in adapter.factors.items():
        layer = layers[name]
        wanted = ((layer.rank, layer.base.in_features), (layer.base.out_features, layer.rank))
        if (tuple(down.shape), tuple(up.shape)) != wanted:
            raise ValueError(
                f"{adapter.path}: {name}: got A {list(down.shape)} and B {list(up.shape)}, wanted {list(wanted[0])} "
                f"and {list(wanted[1])}; if only the rank differs, --rank {len(down)} gives the model the adapter's"
            )
        _fill(layer, down, up * (adapter.scaling / layer.scaling), specific)
    return missing


def _fill(layer: LoraLinear, down: Tensor, up: Tensor, specific: str) -> None:
    """A and B by the layer's own names. static: the adapter's first columns are the shared ones."""
    getattr(layer, "a_specific" if isinstance(layer, Independent) else "a").copy_(down)
    up_shared = up_specific = up
    if isinstance(layer, ZipperStatic):
        up_shared, up_specific = up.split([layer.b_shared.shape[1], layer.b_specific.shape[2]], dim=1)
    if hasattr(layer, "b_shared"):
        layer.b_shared.copy_(up_shared)
    if hasattr(layer, "b_specific"):
        layer.b_specific.copy_(up_specific if specific == "copy" else torch.zeros_like(up_specific))


def _check_variant(layer: LoraLinear, specific: str) -> None:
    if isinstance(layer, FlyLora):
        raise ValueError("flylora has a sparse, frozen A of its own: no PEFT adapter can be its start")
    if isinstance(layer, Independent) and specific == "zero":
        raise ValueError("independent has no shared bank: with --specific zero nothing of the adapter would be left")


def _layer(name: str) -> str:
    """A tensor's layer as WhisperEncoder names it; the decoder's keep their `decoder.`."""
    for wrapping in _WRAPPINGS:
        name = name.removeprefix(wrapping)
    return name.partition(".lora_")[0]
