"""Merge the update of one language, or of a mixture of languages, into the frozen weights, and undo it.

In: the adapters, a language or probabilities of several. Out: layers that compute only W0 + (alpha / r) B A.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from zipperasr.device import to_device
from zipperasr.lora.base import Mixture
from zipperasr.lora.injection import LanguageAdapters


@contextmanager
def merged(adapters: LanguageAdapters, language: str | Mapping[str, float]) -> Iterator[bool]:
    """Merge one update into every layer's weight inside the `with` block; restore the weights afterwards.

    language: a code; or probabilities by code, which mix the LID embeddings and the language-specific banks.
    Yields True; or False for a variant that cannot be merged, which then runs unmerged in the most probable language.
    Raises ValueError for a language without a bank.
    """
    probabilities = {language: 1.0} if isinstance(language, str) else language
    with torch.no_grad():  # of the router
        adapters.set_batch([max(probabilities, key=probabilities.get)], [1])
    layers = list(adapters.layers.values())
    if layers[0].unmergeable is not None:
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
            layer.merged = True
        yield True
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.base.weight.data = weight
            layer.merged = False


@torch.no_grad()
def _deltas(adapters: LanguageAdapters, weights: Tensor) -> Iterator[Tensor]:
    """Yield each layer's update, (d_out, d_in). weights: (languages,) on the CPU, which sum to 1."""
    banks = weights.nonzero().flatten().tolist()
    if len(banks) == 1:
        yield from (layer.delta_weight(banks[0]) for layer in adapters.layers.values())
        return
    weights = to_device(weights, next(iter(adapters.layers.values())).base.weight.device)
    shares = None if adapters.router is None else _shares_of_mixture(adapters, weights)
    mixture = Mixture(weights, banks, shares)
    yield from (layer.mixed_delta(mixture) for layer in adapters.layers.values())


def _shares_of_mixture(adapters: LanguageAdapters, weights: Tensor) -> Tensor:
    """The router's p for the mixed embedding: (layers, 1, rank)."""
    router = adapters.router
    embeddings = router.embeddings
    try:
        router.embeddings = (weights.to(embeddings.dtype) @ embeddings)[None]
        return router()
    finally:
        router.embeddings = embeddings
