"""A transcript as a network of arcs, for alternations, optional words (-D), fragments (-F) and the empty word `@`.

In: a transcript and the rules for words. Out: its arcs in the order in which sclite aligns them, each with the arcs
that lead to it. The order decides between paths of equal cost, so nodes order their arcs as sclite does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from zipperasr.score.sclite.alternation import Alternation, parse
from zipperasr.score.sclite.words import WordRules, undecorated

EMPTY = b"@"


@dataclass(eq=False)
class Word:
    """`inner`: the x of an optional word `(x)`, which is compared; `fragment`: it may match a part of a word."""

    value: bytes
    inner: bytes
    optional: bool = False
    fragment: bool = False

    @property
    def is_empty(self) -> bool:
        return self.value == EMPTY


@dataclass(eq=False)
class _Node:
    arrivals: list[_Arc] = field(default_factory=list)
    departures: list[_Arc] = field(default_factory=list)


@dataclass(eq=False)
class _Arc:
    word: Word | None  # None: the arc that every path starts with
    source: _Node
    target: _Node


@dataclass(frozen=True)
class Arcs:
    """`words[0]` is None; `before[k]`: the arcs that end where arc k starts; `last`: the arcs that end the network."""

    words: list[Word | None]
    before: list[list[int]]
    last: list[int]


def arcs_of(text: bytes, rules: WordRules) -> Arcs:
    """The network of a transcript. Raises ValueError for malformed braces."""
    start, head, stop = _Node(), _Node(), _Node()
    parts = parse(text)
    if parts:
        _join(head, stop, parts, rules)
        if rules.characters:
            _split_into_characters(head, rules)
    else:
        stop = head
    _connect(start, head, None)
    return _in_order(start, stop)


def _connect(source: _Node, target: _Node, word: Word | None) -> None:
    arc = _Arc(word, source, target)
    source.departures.append(arc)
    target.arrivals.append(arc)


def _join(source: _Node, target: _Node, parts: list[bytes | Alternation], rules: WordRules) -> None:
    """Connect `source` to `target` through all `parts`."""
    for number, part in enumerate(parts):
        following = target if number == len(parts) - 1 else _Node()
        if isinstance(part, Alternation):
            for alternative in part.alternatives:
                _join(source, following, alternative, rules)
        else:
            _connect(source, following, _word(undecorated(part), rules, rules.fragments))
        source = following


def _word(value: bytes, rules: WordRules, fragments: bool) -> Word:
    optional = rules.optional and len(value) > 1 and value.startswith(b"(") and value.endswith(b")")
    fragment = fragments and (value.startswith(b"-") or value.endswith(b"-") or (optional and value[-2:-1] == b"-"))
    return Word(value, value[1:-1] if optional else value, optional, fragment)


def _split_into_characters(head: _Node, rules: WordRules) -> None:
    """Split words depth first; a split word moves behind the other arcs of its nodes, at both ends."""
    reached, fringe = {id(head)}, [head]
    while fringe:
        node = fringe.pop()
        for arc in node.departures:
            if id(arc.target) not in reached:
                reached.add(id(arc.target))
                fringe.append(arc.target)
        for arc in list(node.departures):
            _split(arc, rules)


def _split(arc: _Arc, rules: WordRules) -> None:
    word = arc.word
    pieces = rules.pieces_of(word.inner)
    if len(word.value) <= 1 or pieces == [word.value]:
        return
    # sclite crashes if -c DH leaves nothing of a word; here the result is the empty word.
    words = [_word(b"(%b)" % piece if word.optional else piece, rules, fragments=False) for piece in pieces]
    words = words or [Word(EMPTY, EMPTY)]
    nodes = [arc.source, *(_Node() for _ in words[1:]), arc.target]
    for position, piece in enumerate(words):
        _connect(nodes[position], nodes[position + 1], piece)
    arc.source.departures.remove(arc)
    arc.target.arrivals.remove(arc)


def _in_order(start: _Node, stop: _Node) -> Arcs:
    """Topological order: a node follows when all of its arrivals are numbered, first in first out."""
    numbers: dict[int, int] = {}
    words: list[Word | None] = []
    before: list[list[int]] = []
    waiting_for: dict[int, int] = {}
    fringe = deque([start])
    while fringe:
        node = fringe.popleft()
        for arc in node.departures:
            missing = waiting_for.get(id(arc.target), len(arc.target.arrivals)) - 1
            waiting_for[id(arc.target)] = missing
            if missing == 0:
                fringe.append(arc.target)
        for arc in node.departures:
            numbers[id(arc)] = len(words)
            words.append(arc.word)
            before.append([numbers[id(arrival)] for arrival in node.arrivals])
    return Arcs(words, before, [numbers[id(arrival)] for arrival in stop.arrivals])
