"""The language-aware router: maps each language embedding to p(l), one value per rank and layer (Eq. 16-18).

In: one embedding per language. Out: p for every adapted layer, always computed in float32. Each layer has its own
router; all of them run in one product per language. Languages are computed separately because product and sigmoid
round differently by shape: adding a language must leave the p of the others bit-identical.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from zipperasr.lora.base import WRITTEN_IF_SET, Options
from zipperasr.ranges import Range, check_ranges

MOST_WIDTH = 65_536


@dataclass(frozen=True)
class RouterOptions(Options):
    """Options of every variant with a router."""

    router_affine: bool = field(
        default=False, metadata={"meaning": "gain and bias in the LayerNorm of every layer's router"}
    )  # not in the paper
    learned_embeddings: int = field(
        default=0,
        metadata={
            "meaning": "width of language embeddings that train with the router; 0: Whisper's",
            WRITTEN_IF_SET: True,
        },
    )  # not in the paper

    old_keys: ClassVar[dict[str, str]] = {"router_affine": "router_affine"}
    share_hint: ClassVar[str] = ""  # how to make share_is_specific true

    def __post_init__(self) -> None:
        check_ranges(self, {"learned_embeddings": Range(0, MOST_WIDTH)})

    @property
    def share_is_specific(self) -> bool:
        """Whether p is the share of the language-specific column; otherwise it is that of the shared column."""
        return True

    def specific_share(self, p: Tensor) -> Tensor:
        """The share of the language-specific column, computed from the router's p; same shape."""
        return p


def new_embeddings(num_languages: int, width: int, device: torch.device) -> Tensor:
    """Initial values of embeddings that are learned: (languages, width)."""
    return torch.randn(num_languages, width, device=device)


def router_options(options: Options) -> RouterOptions:
    """The options of a routed variant. Raises TypeError if its options_class does not derive from RouterOptions."""
    if not isinstance(options, RouterOptions):
        raise TypeError(f"{type(options).__name__}: options of a routed variant must derive from RouterOptions")
    return options


class Router(nn.Module):
    """p(l) = sigmoid(W_r LayerNorm(e(l)) + b_r).

    By default the LayerNorm has no gain and bias, because W_r and b_r can express the same functions. With affine=True
    every layer has its own, like a LayerNorm module in front of each layer's W_r.

    Args:
        embeddings: (languages, d_lid).
        learned: train the embeddings, instead of keeping them fixed.
        num_layers: number of adapted layers. rank: r.
        init_std: standard deviation of the initial W_r; b_r starts at zero (not in the paper), so p starts near 0.5.
        affine: train a LayerNorm gain and bias per layer, norm_weight and norm_bias: (layers, d_lid).
    """

    def __init__(
        self,
        embeddings: Tensor,
        num_layers: int,
        rank: int,
        init_std: float = 0.02,
        affine: bool = False,
        learned: bool = False,
    ):
        super().__init__()
        table = embeddings.detach().clone().float()
        if learned:
            self.embeddings = nn.Parameter(table)
        else:
            self.register_buffer("embeddings", table)
        device = embeddings.device
        self.weight = nn.Parameter(torch.randn(num_layers, rank, embeddings.shape[1], device=device) * init_std)
        self.bias = nn.Parameter(torch.zeros(num_layers, rank, device=device))
        for name, start in (("norm_weight", torch.ones), ("norm_bias", torch.zeros)):
            value = nn.Parameter(start(num_layers, embeddings.shape[1], device=device)) if affine else None
            self.register_parameter(name, value)

    def forward(self) -> Tensor:
        """Returns p: (layers, languages, rank), in float32 or, if the weights are float64, in float64."""
        with torch.autocast(self.embeddings.device.type, enabled=False):
            exact = torch.promote_types(self.weight.dtype, torch.float32)
            return torch.stack([self._share(language, exact) for language in self.embeddings.to(exact).split(1)], dim=1)

    def _share(self, embedding: Tensor, dtype: torch.dtype) -> Tensor:
        """p of one language for all layers, (layers, rank). embedding: (1, d_lid)."""
        weight, bias = self.weight.to(dtype), self.bias.to(dtype)
        normed = functional.layer_norm(embedding, embedding.shape[1:])
        if self.norm_weight is None:
            logits = (normed @ weight.flatten(0, 1).T).view_as(bias)
        else:
            normed = normed * self.norm_weight.to(dtype) + self.norm_bias.to(dtype)  # (layers, d_lid)
            logits = (weight @ normed[..., None])[..., 0]
        return torch.sigmoid(logits + bias)
