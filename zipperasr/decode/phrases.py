"""Prefer phrases in greedy search: a trie of their tokens, and the walk of an utterance along it.

The cost of a token is the log-probability of the most probable token minus its own. The search follows a phrase while
the mean cost of the tokens so far is at most the phrase's weight; otherwise it returns to where it left the most
probable tokens, and continues from there without the phrase. A phrase that is not completed leaves no trace.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import regex

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SURE = math.log(0.9)  # on the mini dev sets, 0.9 halves the words that nobody said, at equal recall
# Ends of tokens after which a phrase does not begin without a space. U+FFFD: part of a character.
_INSIDE = regex.compile(r"[\p{L}\p{M}\p{N}\s\uFFFD]\Z|\A\Z")


class Phrase(NamedTuple):
    """A phrase to prefer."""

    text: str
    weight: float  # mean cost per token that is accepted


class Choice(NamedTuple):
    """A token to append after removing the last `dropped` tokens."""

    token: int
    logprob: float
    dropped: int = 0


@dataclass(slots=True)
class Node:
    """The first `depth` tokens of one or more phrases."""

    depth: int = 0
    weight: float = 0.0  # the largest of the phrases
    ending: float = -math.inf  # weight of the phrase that ends here
    left: float = math.inf  # tokens to the end of the shortest that continues
    children: dict[int, Node] = field(default_factory=dict)

    def add(self, ids: Sequence[int], weight: float) -> None:
        node = self
        for depth, token in enumerate(ids, 1):
            node = node.children.setdefault(token, Node(depth))
            node.weight = max(node.weight, weight)
            node.left = min(node.left, len(ids) - depth or math.inf)
        node.ending = max(node.ending, weight)

    def is_complete(self, cost: float) -> bool:
        """Whether a phrase ends here that may cost that much."""
        return cost <= self.ending * self.depth


class PhraseTrie:
    """Token sequences of phrases, as written and in lower case.

    Args:
        spaced: words have spaces between them, so that a phrase begins after a space or a mark, not inside a word.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, phrases: Iterable[Phrase], spaced: bool):
        self._tokenizer, self._spaced = tokenizer, spaced
        self._first, self._after_space, self._joined = Node(), Node(), Node()
        self._ends_in_mark: dict[int, bool] = {}  # by token
        for phrase in phrases:
            for text in dict.fromkeys((phrase.text, phrase.text.lower())):
                self._first.add(self._ids(text), phrase.weight)
                self._after_space.add(self._inner_ids(f" {text}"), phrase.weight)
                self._joined.add(self._inner_ids(text), phrase.weight)

    def starts(self, tokens: Sequence[int]) -> list[Node]:
        """Return the roots of what may begin after these tokens."""
        if not tokens:
            return [self._first]
        joins = not self._spaced or self._is_mark(tokens[-1])
        return [self._after_space, self._joined] if joins else [self._after_space]

    def _is_mark(self, token: int) -> bool:
        if token not in self._ends_in_mark:
            self._ends_in_mark[token] = not _INSIDE.search(self._tokenizer.decode([token]))
        return self._ends_in_mark[token]

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def _inner_ids(self, text: str) -> list[int]:
        """Ids of a text that is not at the beginning; a line break is never in one token with a following letter."""
        return self._ids(f"\n{text}")[len(self._ids("\n")) :]


class PhraseWalk:
    """The place of an utterance in the trie. stops: ids that end an utterance; no phrase replaces them."""

    def __init__(self, trie: PhraseTrie, stops: Collection[int]):
        self._trie, self._stops = trie, stops
        self._node: Node | None = None  # in a phrase
        self._cost = 0.0  # of its tokens
        self._left: tuple[int, Choice] | None = None  # number of tokens where it left the most probable, and that token

    def restarted(self) -> PhraseWalk:
        """Return a walk from the beginning."""
        return PhraseWalk(self._trie, self._stops)

    def candidates(self, tokens: Sequence[int]) -> list[int]:
        """Return the tokens that continue or begin a phrase."""
        return list(dict.fromkeys(token for node, _ in self._nodes(tokens) for token in node.children))

    def choose(self, tokens: Sequence[int], allowed: int, best: Choice, logprobs: Mapping[int, float]) -> Choice:
        """Return the token to append.

        Args:
            allowed: how many more tokens the utterance may have.
            best: the most probable token.
            logprobs: of the candidates.
        """
        for node, cost in self._ordered(tokens, logprobs):
            found = self._follow(node, cost, allowed, best, logprobs)
            if found is not None:
                if found.token != best.token and self._left is None:
                    self._left = len(tokens), best
                if self._node is not None and self._node.is_complete(self._cost):
                    self._left = None
                return found
            if self._left is not None:
                return self._back(tokens)
        self._node, self._cost = None, 0.0
        return best

    def _ordered(self, tokens: Sequence[int], logprobs: Mapping[int, float]) -> list[tuple[Node, float]]:
        """What to follow, first what is being followed; after a complete phrase, first the most probable."""
        nodes = list(self._nodes(tokens))
        if self._node is not None and self._node.is_complete(self._cost):
            nodes.sort(key=lambda one: -max((logprobs[token] for token in one[0].children), default=-math.inf))
        return nodes

    def _nodes(self, tokens: Sequence[int]) -> Iterator[tuple[Node, float]]:
        if self._node is not None:
            yield self._node, self._cost
        if self._left is None:
            yield from ((start, 0.0) for start in self._trie.starts(tokens))

    def _follow(
        self, node: Node, cost: float, allowed: int, best: Choice, logprobs: Mapping[int, float]
    ) -> Choice | None:
        """Move to the most probable child if the phrase is still cheap enough and can be completed."""
        if not node.children or best.token in self._stops:
            return None
        token = max(node.children, key=lambda child: logprobs[child])
        child, cost = node.children[token], cost + best.logprob - logprobs[token]
        leaves = self._left is None and token != best.token
        if cost > child.weight * child.depth or (leaves and best.logprob > SURE):
            return None
        if child.left >= allowed and not child.is_complete(cost):
            return None
        self._node, self._cost = child, cost
        return Choice(token, logprobs[token])

    def _back(self, tokens: Sequence[int]) -> Choice:
        """Return to where the phrase left the most probable tokens."""
        assert self._left is not None
        place, best = self._left
        starts = self._trie.starts(tokens[:place])
        self._node = next((start.children[best.token] for start in starts if best.token in start.children), None)
        self._left, self._cost = None, 0.0
        return Choice(best.token, best.logprob, len(tokens) - place)
