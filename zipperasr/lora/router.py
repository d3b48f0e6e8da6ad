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

    The LayerNorm has no gain and bias of its own: W_r and b_r right behind it would absorb both.

    Args:
        embeddings: (languages, d_lid), fixed.
        num_layers: number of adapted layers. rank: r.
        init_std: W_r starts small and random, b_r at zero (not in the paper): p starts near 0.5.
    """

    def __init__(self, embeddings: Tensor, num_layers: int, rank: int, init_std: float = 0.02):
        super().__init__()
        self.register_buffer("embeddings", embeddings.detach().clone().float())
        device = embeddings.device
        self.weight = nn.Parameter(torch.randn(num_layers, rank, embeddings.shape[1], device=device) * init_std)
        self.bias = nn.Parameter(torch.zeros(num_layers, rank, device=device))

    def forward(self) -> Tensor:
        """Returns p: (layers, languages, rank) in float32, or as finely as the weights are."""
        with torch.autocast(self.embeddings.device.type, enabled=False):
            exact = torch.promote_types(self.weight.dtype, torch.float32)
            embeddings, weight, bias = (x.to(exact) for x in (self.embeddings, self.weight, self.bias))
            p = [_share(language, weight, bias) for language in embeddings.split(1)]
            return torch.stack(p, dim=1)


def _share(embedding: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """p of one language for all layers: embedding (1, d_lid), weight (layers, rank, d_lid), bias (layers, rank)."""
    normed = functional.layer_norm(embedding, embedding.shape[1:])
    return torch.sigmoid((normed @ weight.flatten(0, 1).T).view_as(bias) + bias)
