"""Greedy search with continuous batching: when an utterance ends, the next one takes its row.

In: utterances as embeddings of prompt and speech, in any order, also while others are decoded. Out: tokens, as each
utterance ends. No utterance waits for the longest of its batch; when no more arrive, the batch shrinks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zipperasr.decode.phrases import Choice, PhraseWalk
from zipperasr.device import to_device
from zipperasr.model.backbones.causal_llm import IncrementalLLM

if TYPE_CHECKING:
    from zipperasr.decode.spotted import ForcedWalk, Revision

REFILL = 0.25  # share of empty rows at which new utterances start, together, which is cheaper than one by one


@dataclass
class Encoded:
    """One utterance, ready for the LLM."""

    key: object  # the caller's
    embeddings: Tensor  # (positions, LLM width): prompt, then speech
    max_tokens: int  # limit derived from the audio
    tokens: list[int] = field(default_factory=list)  # so far
    logprobs: list[float] = field(default_factory=list)  # of `tokens`, natural, by the model alone: no n-gram is banned
    end_logprob: float | None = None  # of the end token; None if max_tokens ended the utterance
    ended: bool = False  # with an end token, not by max_tokens
    undefined: bool = False  # ended because the log-probability of the next token is not a finite number
    walk: PhraseWalk | ForcedWalk | None = None  # along phrases to prefer
    revision: Revision | None = None  # with phrases that were spotted in the frames
    no_repeat: int = 0  # no n-gram of this size may occur twice; 0: no limit
    frames: Tensor | None = None  # (frames, encoder width), if the decoder keeps them

    @property
    def capacity(self) -> int:
        """Positions the utterance needs in the cache."""
        return len(self.embeddings) + self.max_tokens

    def restart(self) -> None:
        """Forget what has been decoded."""
        self.tokens, self.logprobs, self.end_logprob, self.ended, self.undefined = [], [], None, False, False
        if self.walk is not None:
            self.walk = self.walk.restarted()


class _Queue:
    """Utterances that wait for a row: those to decode again before those that arrive."""

    def __init__(self, arriving: Iterable[Encoded | None]):
        self._arriving = iter(arriving)
        self._has_ended = False
        self.again: deque[Encoded] = deque()
        self.head: Encoded | None = None  # the next one; None: none at present

    def advance(self) -> None:
        """Replace the head by the next utterance."""
        if self.again:
            self.head = self.again.popleft()
            return
        try:
            self.head = next(self._arriving)
        except StopIteration:
            self.head, self._has_ended = None, True

    @property
    def is_over(self) -> bool:
        return self.head is None and not self.again and self._has_ended


class GreedySearch:
    """Takes the most probable token in each step, or one that a phrase prefers.

    Args:
        llm: the language model.
        stops: ids that end an utterance; if empty, every utterance gets max_tokens.
        rows: largest number of utterances at the same time.
        positions: limit of rows times the longest utterance; a single utterance may exceed it.
        again: called with each finished utterance unless it is `undefined`; returns True to decode it again as
            modified.
    """

    def __init__(
        self,
        llm: IncrementalLLM,
        stops: Iterable[int],
        rows: int,
        positions: int,
        again: Callable[[Encoded], bool] = lambda _: False,
    ):
        self._llm, self._stops, self._again = llm, frozenset(stops), again
        self._max_rows, self._max_positions = rows, positions

    @torch.inference_mode()
    def run(
        self,
        utterances: Iterable[Encoded | None],
        check: Callable[[], None] = lambda: None,
        is_dropped: Callable[[Encoded], bool] = lambda _: False,
    ) -> Iterator[Encoded]:
        """Yield utterances with their tokens, in the order in which they end.

        utterances: None means that there is none at present and that the search should continue without.
        check: called before each token; an exception from it ends the search.
        is_dropped: called before each token with each utterance; True frees its row, and it is not yielded.
        """
        queue = _Queue(utterances)
        queue.advance()
        active: list[Encoded] = []
        hidden = None
        self._llm.keep([])  # drop the rows of an aborted search
        while active or not queue.is_over:
            check()
            active, hidden = self._without_dropped(active, hidden, is_dropped)
            new: list[Encoded] = []
            if len(active) <= (1 - REFILL) * self._allowed(active):
                if queue.head is None:
                    queue.advance()
                while queue.head is not None and len(active) + len(new) < self._allowed([*active, *new, queue.head]):
                    new.append(queue.head)
                    queue.advance()
            if new:
                started = self._start(new, [*active, *new])
                hidden = started if hidden is None else torch.cat([hidden, started])
                active += new
            if not active:
                continue
            tokens = self._choose(active, hidden)
            done = [row for row, utterance in enumerate(active) if self._is_done(utterance)]
            for row in done:
                if not active[row].undefined and self._again(active[row]):
                    queue.again.append(active[row])
                else:
                    yield active[row]
            if done:
                rows = _filled_up(len(active), set(done))
                active = [active[row] for row in rows]
                self._llm.keep(rows)
                tokens = tokens[to_device(torch.tensor(rows, dtype=torch.long), tokens.device)]
            hidden = self._llm.step(tokens) if active else None

    def _without_dropped(
        self, active: list[Encoded], hidden: Tensor | None, is_dropped: Callable[[Encoded], bool]
    ) -> tuple[list[Encoded], Tensor | None]:
        dropped = {row for row, utterance in enumerate(active) if is_dropped(utterance)}
        if not dropped:
            return active, hidden
        rows = _filled_up(len(active), dropped)
        self._llm.keep(rows)
        if not rows:
            return [], None
        return [active[row] for row in rows], hidden[to_device(torch.tensor(rows, dtype=torch.long), hidden.device)]

    def _allowed(self, utterances: list[Encoded]) -> int:
        """Number of rows allowed if all are as long as the longest of these utterances."""
        longest = max((utterance.capacity for utterance in utterances), default=1)
        return max(1, min(self._max_rows, self._max_positions // longest))

    def _start(self, new: list[Encoded], together: list[Encoded]) -> Tensor:
        lengths = [len(utterance.embeddings) for utterance in new]
        capacity = max(utterance.capacity for utterance in together)
        embeddings = torch.cat([utterance.embeddings for utterance in new])
        return self._llm.add(embeddings, lengths, capacity, self._max_positions)

    def _choose(self, active: list[Encoded], hidden: Tensor) -> Tensor:
        logits = self._llm.logits(hidden)
        logprobs = logits.log_softmax(-1)  # with a large vocabulary, a quarter of the time of logsumexp
        for row, utterance in enumerate(active):
            if utterance.no_repeat:
                banned = torch.tensor(repeating(utterance.tokens, utterance.no_repeat), dtype=torch.long)
                logits[row].index_fill_(0, to_device(banned, logits.device), -torch.inf)
        tokens = logits.argmax(-1)
        wanted = [[] if one.walk is None else one.walk.candidates(one.tokens) for one in active]
        values = [tokens.double(), _at(logprobs, torch.arange(len(active), device=tokens.device), tokens)]
        if any(wanted):
            picked = [[row for row, ids in enumerate(wanted) for _ in ids], [token for ids in wanted for token in ids]]
            values.append(_at(logprobs, *to_device(torch.tensor(picked), tokens.device)))
        table = iter(torch.cat(values).tolist())  # one transfer from the device
        best = [int(token) for token in islice(table, len(active))]
        choices = [Choice(token, next(table)) for token in best]
        chosen = []
        for row, utterance in enumerate(active):
            known = dict(zip(wanted[row], islice(table, len(wanted[row])), strict=True))
            chosen.append(self._append(row, utterance, choices[row], known))
        return to_device(torch.tensor(chosen), tokens.device) if any(wanted) else tokens

    def _append(self, row: int, utterance: Encoded, choice: Choice, logprobs: dict[int, float]) -> int:
        """Append the most probable token, or what its phrases prefer, and return it. logprobs: of the candidates."""
        if not math.isfinite(choice.logprob):
            utterance.undefined = True
            return choice.token
        if utterance.walk is not None:
            allowed = utterance.max_tokens - len(utterance.tokens)
            choice = utterance.walk.choose(utterance.tokens, allowed, choice, logprobs)
        if choice.dropped:
            del utterance.tokens[-choice.dropped :], utterance.logprobs[-choice.dropped :]
            self._llm.rewind(row, choice.dropped)
        utterance.tokens.append(choice.token)
        utterance.logprobs.append(choice.logprob)
        return choice.token

    def _is_done(self, utterance: Encoded) -> bool:
        if utterance.undefined:
            return True
        if utterance.tokens[-1] in self._stops:
            utterance.tokens.pop()
            utterance.end_logprob = utterance.logprobs.pop()
            utterance.ended = True
        return utterance.ended or len(utterance.tokens) >= utterance.max_tokens


def _at(logprobs: Tensor, rows: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-probability of a token in each of `rows`."""
    return logprobs[rows, tokens].clamp(max=0).double()


def repeating(tokens: list[int], size: int) -> list[int]:
    """Tokens that would repeat an n-gram of this size."""
    last = tokens[len(tokens) - size + 1 :] if len(tokens) >= size else None
    starts = range(len(tokens) - size + 1)
    return [tokens[start + size - 1] for start in starts if tokens[start : start + size - 1] == last]


def _filled_up(count: int, done: set[int]) -> list[int]:
    """Rows to keep, with the last ones moved into free places, so that few rows move."""
    stay = count - len(done)
    last = (row for row in range(count - 1, stay - 1, -1) if row not in done)
    return [next(last) if row in done else row for row in range(stay)]
