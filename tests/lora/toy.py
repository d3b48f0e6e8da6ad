"""A toy model of two linear layers with adapters and random factors, small enough for float64 checks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from zipperasr.lora.base import LoraLinear
from zipperasr.lora.injection import LanguageAdapters, inject

CODES = ("de", "es", "ja")
RANK, ALPHA, D_IN, D_OUT, D_LID = 4, 6.0, 7, 5, 9


class Toy(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(D_IN, D_OUT)
        self.second = nn.Linear(D_OUT, D_IN)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(functional.gelu(self.first(x)))


def adapted_toy(variant: str, trained: bool = True, seed: int = 0) -> tuple[Toy, LanguageAdapters]:
    """The toy model with `variant` on both layers, in float64. `trained`: all factors random instead of initial."""
    torch.manual_seed(seed)
    toy = Toy()
    adapters = inject(toy, variant, ["first", "second"], CODES, torch.randn(len(CODES), D_LID), RANK, ALPHA)
    toy.double()
    if trained:
        with torch.no_grad():
            for parameter in own_parameters(toy).values():
                parameter.normal_()
            for name, buffer in toy.named_buffers():
                if name.endswith("bias_steps"):
                    buffer.random_(-200, 200)
            if adapters.router is not None:
                adapters.router.weight.normal_()  # spreads p over (0, 1)
                adapters.router.bias.normal_()
    return toy, adapters


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that the variant added: all except those of the wrapped layers."""
    return {name: p for name, p in module.named_parameters() if ".base." not in name and not name.startswith("base.")}


def factors(layer: LoraLinear) -> dict[str, Tensor]:
    """A layer's factors by name, detached: trained parameters and FlyLoRA's buffers."""
    return {name: tensor.detach() for name, tensor in (*own_parameters(layer).items(), *layer.named_buffers())}


def shares(adapters: LanguageAdapters, layer: LoraLinear, bank: int) -> Tensor | None:
    """p of one layer and language: (rank,)."""
    p = adapters.specific_shares()
    return None if p is None else p[layer.layer_index, bank].double()
