"""Add languages to adapters that are already trained.

In: adapters, codes of new languages, their LID embeddings. Out: the same adapters with one more bank per language at
the end of each stack; existing banks stay bit-identical. A new bank is initialised from the bank of the nearest
language by LID embedding, from the shared bank, or with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zipperasr.lora.base import BANK_NAMES
from zipperasr.lora.injection import LanguageAdapters
from zipperasr.lora.router import new_embeddings

BANK_STARTS = ("nearest", "shared", "zero")


@torch.no_grad()
def add_languages(adapters: LanguageAdapters, codes: Sequence[str], embeddings: Tensor | None) -> None:
    """Append a bank for each of `codes`, with a zero B and, if the variant has one A per language, a random A.

    embeddings: (len(codes), d_lid), for a router; None: random ones for a router that learns them.
    """
    for layer in adapters.layers.values():
        for name in BANK_NAMES:
            if (bank := getattr(layer, name, None)) is not None:
                zero = bank.new_zeros(len(codes), *bank.shape[1:])
                new = layer.new_down(len(codes)).to(bank) if name == "a_specific" else zero
                setattr(layer, name, nn.Parameter(torch.cat([bank, new])))
        layer.num_languages += len(codes)
    if adapters.router is not None:
        known = adapters.router.embeddings
        if isinstance(known, nn.Parameter) and embeddings is None:
            embeddings = new_embeddings(len(codes), known.shape[1], known.device)
        table = torch.cat([known, embeddings.to(known)])
        adapters.router.embeddings = nn.Parameter(table) if isinstance(known, nn.Parameter) else table
    adapters.own_codes = tuple(codes)
    adapters.language_codes += adapters.own_codes


@torch.no_grad()
def start_bank(adapters: LanguageAdapters, code: str, source: str | None) -> None:
    """Initialise the bank of `code` from the bank of `source`; None: from the shared bank."""
    bank = adapters.bank(code)
    for layer in adapters.layers.values():
        if source is None:
            layer.b_specific[bank] = layer.b_shared
            continue
        for name in BANK_NAMES:
            if hasattr(layer, name):
                stack = getattr(layer, name)
                stack[bank] = stack[adapters.bank(source)]


def trained_languages(adapters: LanguageAdapters) -> list[str]:
    """Languages that had training data in the adaptation; without any, B stays zero in all layers."""
    moved = torch.stack([layer.b_specific.flatten(1).any(1) for layer in adapters.layers.values()]).any(0)
    return [code for code, trained in zip(adapters.language_codes, moved.tolist(), strict=True) if trained]


def nearest_language(embedding: Tensor, others: dict[str, Tensor]) -> tuple[str, float]:
    """The language of `others` with the largest cosine similarity to `embedding` (d_lid,), and that cosine.

    Raises ValueError if `others` is empty.
    """
    if not others:
        raise ValueError("no language of the model has a trained bank to copy; use --bank_from shared or zero")
    cosines = nn.functional.cosine_similarity(embedding.double(), torch.stack(list(others.values())).double(), dim=-1)
    return list(others)[int(cosines.argmax())], float(cosines.max())
