"""Convert the adapters of one language to a plain LoRA, which is exact because the router depends only on the language.

In: an adapted model, a language. Out: A(l) and B(l) of every layer (Eq. 6), or the encoder with them merged.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zipperasr.lora.base import LoraLinear
from zipperasr.model.speech_llm import SpeechLLM


@torch.no_grad()
def plain_lora(model: SpeechLLM, code: str) -> dict[str, tuple[Tensor, Tensor]]:
    """{layer of the encoder: (A(l) (rank, d_in), B(l) (d_out, rank))}, without the scaling alpha / r.

    Raises ValueError if the model has no such language or no adapters, or if A and B cannot express them (flylora).
    """
    factors = {}
    for name, layer, bank in _layers_for(model, code):
        factors[name] = (layer.down(bank)[0].clone(), layer.up(bank)[0].clone())
    return factors


@torch.no_grad()
def encoder_state(model: SpeechLLM, code: str | None = None) -> dict[str, Tensor]:
    """The encoder's tensors by transformers' names, without adapters or with the update of language `code` merged."""
    layers = model.adapters.layers if model.adapters is not None else {}
    factors = {
        f"{name}.{key}" for name, layer in layers.items() for key in layer.state_dict() if not key.startswith("base.")
    }
    state = {
        name.replace(".base.", "."): tensor.clone()
        for name, tensor in model.encoder.pretrained.state_dict().items()
        if name not in factors
    }
    if code is not None:
        for name, layer, bank in _layers_for(model, code):
            weight = state[f"{name}.weight"]
            delta = layer.scaling * layer.up(bank)[0].double() @ layer.down(bank)[0].double()
            weight.copy_(weight.double() + delta)  # rounded once
    return state


def _layers_for(model: SpeechLLM, code: str) -> list[tuple[str, LoraLinear, Tensor]]:
    """(name, layer, bank) of all adapted layers, ready to compute A(l) and B(l)."""
    if model.adapters is None:
        raise ValueError(f"{code}: the model has no encoder LoRA (an alignment, or --lora none); use --format merged")
    bank = torch.tensor([model.adapters.bank(code)])
    for layer in model.adapters.layers.values():
        if layer.unmergeable is not None:
            raise ValueError(
                f"{type(layer).__name__} cannot be exported as a plain LoRA or merged: {layer.unmergeable}; use "
                "--format bundle"
            )
    model.adapters.set_batch([code], [1])  # runs the router
    return [(name, layer, bank) for name, layer in model.adapters.layers.items()]
