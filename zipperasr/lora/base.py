"""What every LoRA variant shares: the frozen linear layer, the two products, the rows of each language.

In: activations of a batch in one or several languages. Out: W0 x + (alpha / r) B(l) A(l) x (Eq. 6, 10).
A variant only says what A(l) and B(l) are. Rows of one language must lie side by side, so that the work is
one product per language in the batch, never one per utterance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

BANK_NAMES = ("a_specific", "b_specific")  # parameters whose first dimension is the language


@dataclass
class LanguageRows:
    """Which rows of the layers' input belong to which language; one object serves all layers of a model.

    It is set before each forward pass and stays until the next, so that activation checkpointing recomputes
    with the same languages.
    """

    banks: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.long))  # (spans,) index of the language
    rows: tuple[int, ...] = (1,)  # rows of each span, or any common fraction of them (utterances, say)
    specific_share: Tensor | None = None  # (layers, languages, rank): the router's p, in float32

    def split(self, num_rows: int) -> list[int]:
        """Rows of each span in an input of `num_rows` rows. Raises ValueError if they do not divide."""
        total = sum(self.rows)
        if total == 0 or num_rows % total:
            raise ValueError(f"{num_rows} rows cannot be shared out over language spans of {self.rows}")
        return [count * (num_rows // total) for count in self.rows]


class LoraLinear(nn.Module):
    """A frozen linear layer with a low-rank update that may depend on the language.

    Args:
        base: the layer to adapt; weight (d_out, d_in).
        rank: r. alpha: the update is scaled by alpha / r.
        num_languages: number of language-specific banks.
        languages: the rows of the batch, shared by all layers.
        layer_index: this layer's row in the router's output.
        settings: values for the class attributes that `options` names.
    """

    mergeable = True  # False where the update depends on x, so that no W0 + delta exists
    folded = False  # True while the base weight holds the update of one language: see fold.py
    routed = False  # True where B(l) needs the router's p
    bank_starts: ClassVar[tuple[str, ...]] = ()  # what a later language's bank can start from (grow.py); (): no banks
    options: ClassVar[tuple[str, ...]] = ()  # class attributes that `settings` may set

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        num_languages: int,
        languages: LanguageRows,
        layer_index: int,
        **settings: object,
    ):
        super().__init__()
        for name, value in settings.items():
            setattr(self, name, value)
        self.base = base
        self.rank = rank
        self.scaling = alpha / rank
        self.num_languages = num_languages
        self.languages = languages
        self.layer_index = layer_index
        self.create_parameters()

    def create_parameters(self) -> None:
        """Create the variant's factors; the update must start at zero."""
        raise NotImplementedError

    def down(self, banks: Tensor) -> Tensor:
        """A(l) of each language in `banks`: (1 or len(banks), rank, d_in); 1 where all languages share it."""
        raise NotImplementedError

    def up(self, banks: Tensor) -> Tensor:
        """B(l) of each language in `banks`: (1 or len(banks), d_out, rank)."""
        raise NotImplementedError

    def select(self, hidden: Tensor) -> Tensor:
        """Leave out ranks of A(l) x, frame by frame: (rows, rank). Most variants use them all."""
        return hidden

    def specific_share(self, banks: Tensor) -> Tensor:
        """The router's p(l) for this layer: (len(banks), 1, rank), ready to scale columns of B."""
        if self.languages.specific_share is None:
            raise ValueError("the router has not run: call LanguageAdapters.set_batch before the forward pass")
        return self.languages.specific_share[self.layer_index, banks].unsqueeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """W0 x + (alpha / r) B(l) A(l) x, row by row in the row's language. x: (..., d_in) -> (..., d_out)."""
        if self.folded:
            return self.base(x)
        banks = self.languages.banks
        rows = x.reshape(-1, x.shape[-1])
        sizes = self.languages.split(len(rows))
        hidden = self.select(_per_language(rows, self.down(banks), sizes))
        return _per_language(hidden, self.up(banks) * self.scaling, sizes, self.base(rows)).unflatten(0, x.shape[:-1])

    @torch.no_grad()
    def delta_weight(self, bank: int) -> Tensor:
        """(alpha / r) B(l) A(l) of one language: (d_out, d_in), in float32 whatever the layer's precision.

        Raises ValueError if the variant cannot be merged.
        """
        if not self.mergeable:
            raise ValueError(f"{type(self).__name__} chooses ranks by its input: no single weight equals it")
        banks = torch.full((1,), bank, device=self.base.weight.device)
        exact = torch.promote_types(self.base.weight.dtype, torch.float32)
        return self.scaling * self.up(banks)[0].to(exact) @ self.down(banks)[0].to(exact)

    def new_down(self, *lead: int) -> nn.Parameter:
        """A (*lead, rank, d_in), drawn as PEFT draws it (Kaiming uniform, a = sqrt 5)."""
        factor = torch.empty(*lead, self.rank, self.base.in_features, device=self.base.weight.device)
        bound = 1 / math.sqrt(self.base.in_features)
        return nn.Parameter(nn.init.uniform_(factor, -bound, bound))

    def new_up(self, *lead: int, rank: int | None = None) -> nn.Parameter:
        """B (*lead, d_out, rank), zero."""
        return nn.Parameter(
            torch.zeros(*lead, self.base.out_features, rank or self.rank, device=self.base.weight.device)
        )


def _per_language(rows: Tensor, weights: Tensor, sizes: Sequence[int], added_to: Tensor | None = None) -> Tensor:
    """rows (n, i) times weights (1 or spans, o, i), transposed: (n, o), each span with its own weight.

    added_to: (n, o); adding within the product saves reading and writing the output once more.
    """
    weights = weights.to(rows.dtype)
    if len(weights) == 1:
        return _product(rows, weights[0], added_to)
    sums = [None] * len(weights) if added_to is None else added_to.split(list(sizes))
    return torch.cat([_product(*span) for span in zip(rows.split(list(sizes)), weights, sums, strict=True)])


def _product(rows: Tensor, weight: Tensor, added_to: Tensor | None) -> Tensor:
    return rows @ weight.T if added_to is None else torch.addmm(added_to.to(rows.dtype), rows, weight.T)
