"""The projector: maps every four encoder frames to one input embedding of the LLM (12.5 per second).

A language that was added to a trained model may have a projector of its own; all others share one.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from copy import deepcopy
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional

from zipperasr.audio.segments import PROJECTOR_STRIDE
from zipperasr.model import ragged


def own_key(code: str) -> str:
    """The name of a language's own projector in `GatedProjector.own`: modules can be called neither "to" nor "a.b"."""
    return f"for_{code.replace('.', '_')}"


class GatedProjector(nn.Module):
    """h = silu(gate(x)) * up(x); h = LayerNorm(h + linear(h)); out(h) (paper, Sec. V-B).

    gate and up are convolutions of kernel and stride 4.

    Args:
        d_in: the encoder's width.
        d_hidden: hidden width (not in the paper; by default the LLM's width).
        d_out: the LLM's width.

    Attributes:
        own: projectors of single languages, by `own_key` of the code; empty unless `add_own` was called.
    """

    def __init__(self, d_in: int, d_hidden: int, d_out: int):
        super().__init__()
        self.gate = nn.Conv1d(d_in, d_hidden, kernel_size=PROJECTOR_STRIDE, stride=PROJECTOR_STRIDE)
        self.up = nn.Conv1d(d_in, d_hidden, kernel_size=PROJECTOR_STRIDE, stride=PROJECTOR_STRIDE)
        self.linear = nn.Linear(d_hidden, d_hidden)
        self.norm = nn.LayerNorm(d_hidden)
        self.out = nn.Linear(d_hidden, d_out)
        self.own = nn.ModuleDict()

    def add_own(self, code: str) -> None:
        """Give a language a projector of its own: a copy of the shared one. Raises ValueError if its name is taken."""
        key = own_key(code)
        if key in self.own:
            raise ValueError(
                f"got the language {code!r}, whose projector {key} exists; choose a code that is not in use"
            )
        copied = deepcopy(self)
        copied.own = nn.ModuleDict()
        self.own[key] = copied

    def of(self, code: str | None) -> GatedProjector:
        """The projector of a language: its own, or the shared one; None: the shared one."""
        return self if code is None or own_key(code) not in self.own else self.own[own_key(code)]

    @torch.no_grad()
    def match_scale(self, embeddings: Tensor, factor: float = 1.0) -> None:
        """Reinitialise `out` so that speech embeddings have the scale of the LLM's inputs.

        embeddings: (vocabulary, d_out), which the LLM multiplies by `factor`.

        Not in the paper. With torch's default, speech embeddings start 6 times larger (mini LLM), and the LLM's layers,
        which add to the residual stream, have less influence.
        """
        rows = embeddings.split(16_384)  # no float32 copy of a large vocabulary
        squares = sum(part.float().square().mean().double() * len(part) for part in rows) / len(embeddings)
        rms = squares.float().sqrt().item() * factor
        nn.init.normal_(self.out.weight, std=rms / self.out.in_features**0.5)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, frames: Tensor, lengths: Sequence[int], languages: Sequence[str] | None = None
    ) -> tuple[Tensor, list[int]]:
        """Map the frames of all utterances, end to end, to LLM embeddings.

        frames: (sum of lengths, d_in); lengths: frames of each utterance; languages: code of each, needed if a language
        has a projector of its own. Returns (sum of positions, d_out) and the positions of each utterance,
        ceil(length / 4): its end is padded with zeros, so that no speech is dropped and no window reaches into the next
        utterance.
        """
        if not self.own:
            return self._map(frames, lengths)
        outputs, counts, used, start = [], [], set(), 0
        for projector, units in groupby(zip(languages, lengths, strict=True), key=lambda unit: self.of(unit[0])):
            span = [length for _, length in units]
            positions, of_each = projector._map(frames[start : start + sum(span)], span)
            outputs.append(positions)
            counts += of_each
            used.add(projector)
            start += sum(span)
        whole = torch.cat(outputs)
        if torch.is_grad_enabled():  # all ranks must reduce gradients of the same parameters
            whole = whole + sum(parameter.flatten()[0] * 0 for parameter in self._trained_but_not_in(used))
        return whole, counts

    def _trained_but_not_in(self, used: Container[GatedProjector]) -> Iterator[nn.Parameter]:
        for projector in (self, *self.own.values()):
            if projector not in used:
                named = projector.named_parameters()
                yield from (p for name, p in named if p.requires_grad and not name.startswith("own."))

    def _map(self, frames: Tensor, lengths: Sequence[int]) -> tuple[Tensor, list[int]]:
        counts = [-(-length // PROJECTOR_STRIDE) for length in lengths]
        frames = ragged.spread(frames, lengths, [count * PROJECTOR_STRIDE for count in counts])
        columns = frames.T[None]
        hidden = (functional.silu(self.gate(columns)) * self.up(columns))[0].T
        return self.out(self.norm(hidden + self.linear(hidden))), counts
