"""The base class of all LoRA variants: a frozen linear layer plus a low-rank update per language.

In: activations of a batch in one or several languages. Out: W0 x + (alpha / r) B(l) A(l) x (Eq. 6, 10).
A variant defines A(l) and B(l), its options, and what merging, importing and training need to know about it. Rows of
one language must be contiguous: the cost is one product per language in the batch, not one per utterance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

BANK_NAMES = ("a_specific", "b_specific")  # parameters whose first dimension is the language
PER_LANGUAGE = (*BANK_NAMES, "embeddings")  # of any parameters: these and the router's learned embeddings
DOWN_NAMES = ("a", "a_specific")  # parameters or buffers whose last but one dimension is the rank

WRITTEN_IF_SET = "written_if_set"  # in a field's metadata: left out of config.yaml if it has the default


@dataclass(frozen=True)
class Options:
    """Options of a variant: keys of model.yaml below `encoder_lora: {<variant>: ...}`. The base class has none.

    A subclass is a frozen dataclass. It checks its values in `__post_init__`, and those that depend on the rank in
    `check_rank`; both raise ValueError. A field's metadata["meaning"] describes it in the tables of `zipperasr.plan`.
    """

    # key directly below encoder_lora, as written before release 0.2 -> name of the option
    old_keys: ClassVar[dict[str, str]] = {}

    def check_rank(self, rank: int) -> None:
        """Raises ValueError if an option does not fit the rank."""


@dataclass
class LanguageRows:
    """Assigns rows of the layers' input to languages. All layers of a model share one instance.

    It is set before each forward pass and kept until the next, so that activation checkpointing recomputes with the
    same languages.
    """

    banks: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.long))  # (spans,) index of each language
    rows: tuple[int, ...] = (1,)  # rows of each span, or a common fraction of them
    specific_share: Tensor | None = None  # (layers, languages, rank): the router's p, in float32

    def split(self, num_rows: int) -> list[int]:
        """Return the rows of each span in an input of `num_rows` rows. Raises ValueError if they do not divide."""
        total = sum(self.rows)
        if total == 0 or num_rows % total:
            raise ValueError(f"{num_rows} rows cannot be divided over language spans of {self.rows} rows")
        return [count * (num_rows // total) for count in self.rows]


@dataclass(frozen=True)
class Mixture:
    """Probabilities of several languages, whose updates are mixed."""

    weights: Tensor  # (languages,), sums to 1
    banks: Sequence[int]  # banks of the languages with a weight above 0
    shares: Tensor | None  # the router's p for the weighted mean of the LID embeddings: (layers, 1, rank)


class LoraLinear(nn.Module):
    """A frozen linear layer with a low-rank update that may depend on the language.

    Args:
        base: the layer to adapt; weight (d_out, d_in).
        rank: r. alpha: the update is scaled by alpha / r.
        num_languages: number of language-specific banks.
        languages: the rows of the batch, shared by all layers.
        layer_index: this layer's row in the router's output.
        options: an instance of `options_class`; None: its defaults.

    Class attributes that a variant may set:
        options_class: its options.
        unmergeable: why no weight W0 + delta exists (the update depends on x); None if it does.
        routed: B(l) needs the router's p; options_class is then derived from `RouterOptions`.
        bank_starts: ways to initialise the bank of a language that is added later (grow.py); (): no banks.
        initial_b_sources: variants whose trained B can initialise this one's (Initial-B).
        saved_buffers: buffers that are saved with the trained parameters.
    """

    options_class: ClassVar[type[Options]] = Options
    unmergeable: ClassVar[str | None] = None
    routed = False
    bank_starts: ClassVar[tuple[str, ...]] = ()
    initial_b_sources: ClassVar[tuple[str, ...]] = ()
    saved_buffers: ClassVar[tuple[str, ...]] = ()
    merged = False  # True while the base weight contains the update of one language: see merging.py

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        num_languages: int,
        languages: LanguageRows,
        layer_index: int,
        options: Options | None = None,
    ):
        super().__init__()
        self.options = options or self.options_class()
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
        """A(l) of each language in `banks`: (1 or len(banks), rank, d_in); 1 if all languages share it."""
        raise NotImplementedError

    def up(self, banks: Tensor) -> Tensor:
        """B(l) of each language in `banks`: (1 or len(banks), d_out, rank)."""
        raise NotImplementedError

    def select(self, hidden: Tensor) -> Tensor:
        """Zero some of the ranks of A(l) x, row by row: (rows, rank). By default all ranks are used."""
        return hidden

    @classmethod
    def after_step(cls, layers: Sequence[LoraLinear]) -> None:
        """Hook called after every optimiser step, once for all adapted layers of the model, on every rank."""

    @classmethod
    def check_plain_start(cls, specific: str) -> None:
        """Raises ValueError if the variant cannot be initialised from a plain LoRA (`start_from_plain`)."""
        if cls.start_from_plain is LoraLinear.start_from_plain:
            raise ValueError(f"{cls.__name__} cannot be initialised from a PEFT adapter; use another LoRA variant")

    def start_from_plain(self, down: Tensor, up: Tensor, specific: str) -> None:
        """Initialise the factors from one plain LoRA, under torch.no_grad.

        down: A (rank, d_in). up: B (d_out, rank). specific: copy or zero, the initial value of the language banks.
        """
        raise NotImplementedError

    def specific_share(self, banks: Tensor) -> Tensor:
        """The router's p(l) for this layer: (len(banks), 1, rank), ready to scale columns of B."""
        if self.languages.specific_share is None:
            raise ValueError("the router has not run: call LanguageAdapters.set_batch before the forward pass")
        return self.languages.specific_share[self.layer_index, banks].unsqueeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """W0 x + (alpha / r) B(l) A(l) x, row by row in the row's language. x: (..., d_in) -> (..., d_out)."""
        if self.merged:
            return self.base(x)
        banks = self.languages.banks
        rows = x.reshape(-1, x.shape[-1])
        sizes = self.languages.split(len(rows))
        hidden = self.select(_per_language(rows, self.down(banks), sizes))
        return _per_language(hidden, self.up(banks) * self.scaling, sizes, self.base(rows)).unflatten(0, x.shape[:-1])

    @torch.no_grad()
    def delta_weight(self, bank: int) -> Tensor:
        """(alpha / r) B(l) A(l) of one language: (d_out, d_in), in at least float32.

        Raises ValueError if the variant cannot be merged.
        """
        if self.unmergeable is not None:
            raise ValueError(f"{type(self).__name__} cannot be merged: {self.unmergeable}")
        banks = torch.full((1,), bank, device=self.base.weight.device)
        exact = torch.promote_types(self.base.weight.dtype, torch.float32)
        return self.scaling * self.up(banks)[0].to(exact) @ self.down(banks)[0].to(exact)

    def mixed_delta(self, mixture: Mixture) -> Tensor:
        """The update for a mixture of languages, (d_out, d_in): by default the weighted sum of their updates."""
        if not self.bank_starts:
            return self.delta_weight(0)
        return sum(mixture.weights[bank] * self.delta_weight(bank) for bank in mixture.banks)

    def delta_of_mixed_bank(self, mixture: Mixture) -> Tensor:
        """The update with one bank B_spec, the weighted mean of the languages': for variants with a shared A."""
        banks, before = self.b_specific.data, self.languages.specific_share
        try:
            mean = torch.tensordot(mixture.weights, banks.to(mixture.weights.dtype), 1)[
                None
            ]  # rounded only when merged
            self.b_specific.data, self.languages.specific_share = mean, mixture.shares
            return self.delta_weight(0)
        finally:
            self.b_specific.data, self.languages.specific_share = banks, before

    def new_down(self, *lead: int) -> nn.Parameter:
        """A new A, (*lead, rank, d_in), initialised as in PEFT (Kaiming uniform, a = sqrt 5)."""
        factor = torch.empty(*lead, self.rank, self.base.in_features, device=self.base.weight.device)
        bound = 1 / math.sqrt(self.base.in_features)
        return nn.Parameter(nn.init.uniform_(factor, -bound, bound))

    def new_up(self, *lead: int, rank: int | None = None) -> nn.Parameter:
        """A new B, (*lead, d_out, rank), of zeros."""
        return nn.Parameter(
            torch.zeros(*lead, self.base.out_features, rank or self.rank, device=self.base.weight.device)
        )


def _per_language(rows: Tensor, weights: Tensor, sizes: Sequence[int], added_to: Tensor | None = None) -> Tensor:
    """rows (n, i) times weights (1 or spans, o, i), transposed: (n, o), each span with its own weight.

    added_to: (n, o); adding inside the product avoids reading and writing the output again.
    """
    weights = weights.to(rows.dtype)
    if len(weights) == 1:
        return _product(rows, weights[0], added_to)
    sums = [None] * len(weights) if added_to is None else added_to.split(list(sizes))
    return torch.cat([_product(*span) for span in zip(rows.split(list(sizes)), weights, sums, strict=True)])


def _product(rows: Tensor, weight: Tensor, added_to: Tensor | None) -> Tensor:
    return rows @ weight.T if added_to is None else torch.addmm(added_to.to(rows.dtype), rows, weight.T)
