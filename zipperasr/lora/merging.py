"""One language's update inside the frozen weights, where it costs nothing, and back.

In: the adapters, a language or probabilities of several. Out: nothing but W0 + (alpha / r) B A to compute, for a while.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from zipperasr.device import to_device
from zipperasr.lora.base import LoraLinear
from zipperasr.lora.injection import LanguageAdapters


@contextmanager
def folded(adapters: LanguageAdapters, language: str | Mapping[str, float]) -> Iterator[bool]:
    """While it is entered, every layer is its frozen weight plus one update; after it the weights are as before.

    language: a code; or probabilities by code, which mix the LID embeddings and the specific banks.
    Yields whether it is so: a variant that cannot be merged goes on as it is, for the likeliest language.
    Raises ValueError for a language outside the model's set.
    """
    probabilities = {language: 1.0} if isinstance(language, str) else language
    adapters.set_batch([max(probabilities, key=probabilities.get)], [1])
    layers = list(adapters.layers.values())
    if not layers[0].mergeable:
        yield False
        return
    weights = torch.zeros(len(adapters.language_codes))
    for code, probability in probabilities.items():
        weights[adapters.bank(code)] = probability
    kept = [layer.base.weight.data for layer in layers]
    try:
        for layer, delta in zip(layers, _deltas(adapters, weights), strict=True):
            weight = layer.base.weight.data
            layer.base.weight.data = (weight.float() + delta.float()).to(weight.dtype)
            layer.folded = True
        yield True
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.base.weight.data = weight
            layer.folded = False


@torch.no_grad()
def _deltas(adapters: LanguageAdapters, weights: Tensor) -> Iterator[Tensor]:
    """Each layer's update, (d_out, d_in). weights: (languages,) on the CPU, which sum to 1."""
    banks = weights.nonzero().flatten().tolist()
    if len(banks) == 1:
        yield from (layer.delta_weight(banks[0]) for layer in adapters.layers.values())
        return
    weights = to_device(weights, next(iter(adapters.layers.values())).base.weight.device)
    if adapters.router is not None:
        shares = _shares_of_mixture(adapters, weights)
    for layer in adapters.layers.values():
        if hasattr(layer, "a_specific"):  # A and B of a language belong together: their products are mixed
            yield sum(weights[bank] * layer.delta_weight(bank) for bank in banks)
        elif hasattr(layer, "b_specific"):
            yield _delta_of_mixture(layer, weights, None if adapters.router is None else shares)
        else:
            yield layer.delta_weight(0)


def _shares_of_mixture(adapters: LanguageAdapters, weights: Tensor) -> Tensor:
    """The router's p for the mixed embedding: (layers, 1, rank)."""
    router = adapters.router
    embeddings = router.embeddings
    try:
        router.embeddings = (weights.to(embeddings.dtype) @ embeddings)[None]
        return router()
    finally:
        router.embeddings = embeddings


def _delta_of_mixture(layer: LoraLinear, weights: Tensor, shares: Tensor | None) -> Tensor:
    """With the mixed bank as the only one."""
    banks, before = layer.b_specific.data, layer.languages.specific_share
    try:
        layer.b_specific.data = torch.tensordot(weights, banks.to(weights.dtype), 1)[None]  # rounded only when folded
        layer.languages.specific_share = shares
        return layer.delta_weight(0)
    finally:
        layer.b_specific.data, layer.languages.specific_share = banks, before
