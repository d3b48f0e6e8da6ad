"""Compare the tensors of a foreign checkpoint with those of the model that they are imported into, and convert them.

In: entries, their targets from the key table, the model on the meta device. Out: one report row per tensor; the
tensors under our names. A stacked tensor must be given as a whole, or by all of its slices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from zipperasr.exchange.foreign import Entry
from zipperasr.exchange.key_map import Target
from zipperasr.model.checkpoint import BANK_NAMES, EMBEDDINGS, trained_state
from zipperasr.model.speech_llm import SpeechLLM

ROUTER = tuple(  # stacked over the adapted layers
    f"adapters.router.{name}" for name in ("weight", "bias", "norm_weight", "norm_bias")
)
FITS = ("mapped", "dropped")
STATES = (*FITS, "unmapped", "unknown", "misshapen", "twice", "missing")


@dataclass(frozen=True)
class Row:
    """One row of the report."""

    state: str  # one of STATES
    foreign: str  # name in the checkpoint; empty if missing there
    got: str  # its shape and type
    ours: str  # name, or name[key]
    wanted: str  # shape of ours

    def __str__(self) -> str:
        return "\t".join((self.state, self.foreign or "-", self.got or "-", self.ours or "-", self.wanted or "-"))


class Wanted:
    """Tensors that a training directory of the model contains: names, shapes, and the keys of stacked ones."""

    def __init__(self, model: SpeechLLM):
        self.tensors = trained_state(model)
        self._codes = model.adapters.language_codes if model.adapters is not None else ()
        self._layers = tuple(model.adapters.layers) if model.adapters is not None else ()

    def keys(self, name: str) -> tuple[str, ...]:
        """Keys of a tensor's slices, languages or layers; () if it is not stacked."""
        if name.rpartition(".")[2] in BANK_NAMES or name == EMBEDDINGS:
            return self._codes
        return self._layers if name in ROUTER else ()

    def shape(self, target: Target) -> tuple[int, ...] | None:
        """The shape of a target; None if the model has no such tensor."""
        if target.name not in self.tensors or (target.key is not None and target.key not in self.keys(target.name)):
            return None
        shape = tuple(self.tensors[target.name].shape)
        return shape if target.key is None else shape[1:]


def compare(
    entries: Mapping[str, Entry], targets: Mapping[str, Target | None], wanted: Wanted | None = None
) -> list[Row]:
    """Return a row for every foreign tensor and, if `wanted` is given, for every missing tensor of ours."""
    rows, filled = [], set()
    for name, entry in entries.items():
        got = f"{list(entry.shape)} {entry.dtype}"
        target = targets.get(name)
        if target is None:
            rows.append(Row("dropped" if name in targets else "unmapped", name, got, "", ""))
            continue
        place = _place(target)
        state, shape = _state(entry, target, wanted, place in filled)
        filled.add(place)
        got += " transposed" if target.transpose else ""
        rows.append(Row(state, name, got, place, "" if shape is None else str(list(shape))))
    return rows + (_missing(wanted, filled) if wanted is not None else [])


def assemble(entries: Mapping[str, Entry], targets: Mapping[str, Target | None], wanted: Wanted) -> dict[str, Tensor]:
    """Convert foreign tensors to ours, in the types that we store. Raises ValueError naming tensors that do not fit."""
    wrong = [row for row in compare(entries, targets, wanted) if row.state not in FITS]
    if wrong:
        shown = "; ".join(f"{row.state} {row.foreign or row.ours} {row.got or row.wanted}" for row in wrong[:4])
        raise ValueError(f"{len(wrong)} tensors do not fit: {shown}; complete the key table (--map)")
    sources = {_place(target): (name, target) for name, target in targets.items() if target is not None}

    def load(place: str) -> Tensor:
        name, target = sources[place]
        tensor = entries[name].load()
        return tensor.T if target.transpose else tensor

    tensors = {}
    for name, place in wanted.tensors.items():
        whole = load(name) if name in sources else torch.stack([load(f"{name}[{key}]") for key in wanted.keys(name)])
        tensors[name] = whole.to(place.dtype)
    return tensors


def _state(entry: Entry, target: Target, wanted: Wanted | None, again: bool) -> tuple[str, tuple[int, ...] | None]:
    """(state, wanted shape) of a tensor with a target. again: an earlier tensor has the same target."""
    if again:
        return "twice", None
    if wanted is None:
        return "mapped", None
    shape = wanted.shape(target)
    if shape is None:
        return "unknown", None
    got = entry.shape[::-1] if target.transpose else entry.shape
    return ("mapped" if got == shape else "misshapen"), shape


def _missing(wanted: Wanted, filled: set[str]) -> list[Row]:
    rows = []
    for name, tensor in wanted.tensors.items():
        slices = {key: f"{name}[{key}]" for key in wanted.keys(name)}
        if name in filled:
            extra = [place for place in slices.values() if place in filled]
            rows += [Row("twice", "", "", place, "") for place in extra]
        elif any(place in filled for place in slices.values()):
            shape = str(list(tensor.shape[1:]))
            rows += [Row("missing", "", "", place, shape) for place in slices.values() if place not in filled]
        else:
            rows.append(Row("missing", "", "", name, str(list(tensor.shape))))
    return rows


def _place(target: Target) -> str:
    return target.name if target.key is None else f"{target.name}[{target.key}]"
