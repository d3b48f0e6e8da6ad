"""Add a LoRA variant to the linear layers of a module, by name pattern.

In: any module, shell patterns of layer names, the languages. Out: `LanguageAdapters`, which holds the router, maps
language codes to banks, and sets the languages of each batch for all layers.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from zipperasr.cli import nearest
from zipperasr.device import to_device
from zipperasr.lora import variant_class
from zipperasr.lora.base import LanguageRows, LoraLinear, Options
from zipperasr.lora.router import Router, new_embeddings, router_options


class LanguageAdapters(nn.Module):
    """All adapted layers of one module, which contains them, and their router, which is a submodule of this one.

    Attributes:
        language_codes: bank i belongs to language_codes[i]; checkpoints identify banks by code, never by position.
        own_codes: languages at the end of language_codes whose banks this training updates and saves: all of them,
            unless languages were added to a trained model (grow.py).
        layers: name -> adapted layer, in the module's order.
    """

    def __init__(self, layers: dict[str, LoraLinear], language_codes: Sequence[str], router: Router | None):
        super().__init__()
        self.language_codes = self.own_codes = tuple(language_codes)
        self.router = router
        self._layers = tuple(layers.items())  # a tuple: nn.Module must not register them a second time
        self._rows = next(iter(layers.values())).languages

    @property
    def layers(self) -> dict[str, LoraLinear]:
        return dict(self._layers)

    def bank(self, code: str) -> int:
        """Index of a language's bank. Raises ValueError if the model does not have the language."""
        if code not in self.language_codes:
            raise ValueError(f"language {code!r} has no adapter; {nearest(code, self.language_codes)}")
        return self.language_codes.index(code)

    def set_batch(self, codes: Sequence[str], rows: Sequence[int]) -> None:
        """Set the languages of the next forward pass.

        codes: language of each unit (utterance or segment). rows: rows of each unit in the layers' flattened input, in
        order. Units of the same language should be adjacent, because every change of language costs one more product.
        """
        spans = [
            (code, sum(count for _, count in unit))
            for code, unit in groupby(zip(codes, rows, strict=True), key=lambda unit: unit[0])
        ]
        device = next(iter(self._layers))[1].base.weight.device
        self._rows.banks = to_device(torch.tensor([self.bank(code) for code, _ in spans]), device)
        self._rows.rows = tuple(count for _, count in spans)
        self._rows.specific_share = self.router() if self.router is not None else None

    def after_step(self) -> None:
        """Run the variant's work after an optimiser step (`LoraLinear.after_step`)."""
        layers = [layer for _, layer in self._layers]
        type(layers[0]).after_step(layers)

    def describe_router(self) -> str:
        """p as JSON: {"languages": codes, "layers": names, "p": [layer][language][rank]}."""
        p = [[[round(x, 5) for x in row] for row in layer] for layer in self.specific_shares().tolist()]
        return json.dumps({"languages": self.language_codes, "layers": list(self.layers), "p": p}) + "\n"

    @torch.no_grad()
    def specific_shares(self) -> Tensor | None:
        """The router's p: (layers, languages, rank), or None for a variant without a router."""
        return None if self.router is None else self.router()


def inject(
    module: nn.Module,
    variant: str,
    patterns: Sequence[str],
    language_codes: Sequence[str],
    lid_embeddings: Tensor | None = None,
    rank: int = 32,
    alpha: float = 64.0,
    options: Options | None = None,
) -> LanguageAdapters:
    """Replace every nn.Linear of `module` whose dotted name matches a pattern, and freeze the wrapped layers.

    lid_embeddings: (languages, d_lid) in the order of language_codes; only routed variants need them, unless they
    learn their own.
    options: an instance of the variant's `options_class`; None: its defaults.
    Raises ValueError if no layer matches, a routed variant has no embeddings, or the options are of another class.
    """
    layer_class = variant_class(variant)
    options = options or layer_class.options_class()
    if not isinstance(options, layer_class.options_class):
        raise ValueError(f"{variant}: got {type(options).__name__}, wanted {layer_class.options_class.__name__}")
    options.check_rank(rank)
    targets = [
        name
        for name, child in module.named_modules()
        if isinstance(child, nn.Linear) and any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]
    if not targets:
        raise ValueError(f"no linear layer of {type(module).__name__} matches {list(patterns)}; nothing to adapt")
    router = None
    if layer_class.routed:
        routing = router_options(options)
        if routing.learned_embeddings and lid_embeddings is None:
            device = module.get_submodule(targets[0]).weight.device
            lid_embeddings = new_embeddings(len(language_codes), routing.learned_embeddings, device)
        if lid_embeddings is None or len(lid_embeddings) != len(language_codes):
            raise ValueError(
                f"{variant} needs one LID embedding for each of {len(language_codes)} languages; run stage 4"
            )
        learned = routing.learned_embeddings > 0
        router = Router(lid_embeddings, len(targets), rank, affine=routing.router_affine, learned=learned)
    rows = LanguageRows()
    layers = {}
    for index, name in enumerate(targets):
        parent, _, child = name.rpartition(".")
        owner = module.get_submodule(parent)
        base = getattr(owner, child).requires_grad_(False)
        layers[name] = layer_class(base, rank, alpha, len(language_codes), rows, index, options)
        setattr(owner, child, layers[name])
    return LanguageAdapters(layers, language_codes, router)
