"""The language-aware router: Whisper's language embedding decides p(l), rank by rank (Eq. 16-18).

In: one embedding per language. Out: p for every adapted layer. One router per layer, a language's in one float32
product, whatever precision the model trains in. Languages are computed apart: product and sigmoid round by shape
and place, and a language that is added must not move a bit of the others' p.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Router(nn.Module):
    """p(l) = sigmoid(W_r LayerNorm(e(l)) + b_r).

    By default the LayerNorm has no gain and bias: they add no function that W_r and b_r cannot express. With
    affine=True every layer has its own, as a LayerNorm module in front of each layer's W_r would.

    Args:
        embeddings: (languages, d_lid), fixed.
        num_layers: number of adapted layers. rank: r.
        init_std: W_r starts small and random, b_r at zero (not in the paper): p starts near 0.5.
        affine: train a gain and a bias of the LayerNorm, norm_weight and norm_bias: (layers, d_lid).
    """

    def __init__(self, embeddings: Tensor, num_layers: int, rank: int, init_std: float = 0.02, affine: bool = False):
        super().__init__()
        self.register_buffer("embeddings", embeddings.detach().clone().float())
        device = embeddings.device
        self.weight = nn.Parameter(torch.randn(num_layers, rank, embeddings.shape[1], device=device) * init_std)
        self.bias = nn.Parameter(torch.zeros(num_layers, rank, device=device))
        for name, start in (("norm_weight", torch.ones), ("norm_bias", torch.zeros)):
            value = nn.Parameter(start(num_layers, embeddings.shape[1], device=device)) if affine else None
            self.register_parameter(name, value)

    def forward(self) -> Tensor:
        """Returns p: (layers, languages, rank) in float32, or as finely as the weights are."""
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
