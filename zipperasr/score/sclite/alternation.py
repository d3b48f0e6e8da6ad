"""Alternations in a transcript: `{ a / b c / @ }`, nested to any depth.

In: a transcript. Out: words and alternations in order. Braces must balance and be separated from the word before them;
otherwise sclite crashes or loses words, and this raises an error.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alternation:
    """Each alternative is a list of words and nested alternations."""

    alternatives: list[list[bytes | Alternation]]


def parse(text: bytes) -> list[bytes | Alternation]:
    """The transcript's words and alternations. Raises ValueError for malformed braces."""
    parts: list[bytes | Alternation] = []
    position = 0
    while (position := _skip(text, position, b" \t\n\r\v\f")) < len(text):
        if text[position] == ord("{"):
            end = _closing(text, position)
            parts.append(_alternation(text[position + 1 : end]))
            position = end + 1
        else:
            word = text[position:].split(None, 1)[0]
            if b"{" in word or b"}" in word:
                raise ValueError(f"a brace within the word {_shown(word)}; write alternations as {{ a / b }}")
            parts.append(word)
            position += len(word)
    return parts


def _alternation(content: bytes) -> Alternation:
    alternatives, depth, start = [], 0, 0
    for position, byte in enumerate(content + b"/"):
        depth += (byte == ord("{")) - (byte == ord("}"))
        if byte == ord("/") and depth == 0:
            if parts := parse(content[start:position]):  # sclite ignores an empty one
                alternatives.append(parts)
            start = position + 1
    if not alternatives:
        raise ValueError("an alternation without words; write @ for nothing, as in { a / @ }")
    return Alternation(alternatives)


def _closing(text: bytes, opening: int) -> int:
    depth = 0
    for position in range(opening, len(text)):
        depth += (text[position] == ord("{")) - (text[position] == ord("}"))
        if depth == 0:
            return position
    raise ValueError(f"no closing brace for {_shown(text[opening : opening + 20])}; write alternations as {{ a / b }}")


def _skip(text: bytes, position: int, what: bytes) -> int:
    while position < len(text) and text[position] in what:
        position += 1
    return position


def _shown(text: bytes) -> str:
    return repr(text.decode("utf-8", errors="replace"))
