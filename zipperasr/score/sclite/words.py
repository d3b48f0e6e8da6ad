"""Split a transcript into words as sclite does.

In: a transcript without its id. Out: words. A word ends at `;` (tags follow); a backslash escapes a `;` and is removed;
a final `*` is removed. With `-c`, characters are the words: bytes, or code points with `-e utf-8`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TEXT_BEFORE_TAGS = re.compile(rb"(?:\\;|[^;])*")  # up to the first `;` that is not escaped
_DECORATION = re.compile(rb"[;\\*]")
_HYPHEN_IN_WORD = re.compile(rb"(?<=\S)-|-(?=\S)")
# Per (utf-8, NOASCII): a character is a byte or a code point, or with NOASCII a run of ASCII.
_CHARACTERS = {
    (False, False): re.compile(rb"\S"),
    (False, True): re.compile(rb"\S+"),
    (True, False): re.compile(rb"[^\s\x80-\xff]|[\xc0-\xff][\x80-\xbf]*"),
    (True, True): re.compile(rb"[^\s\x80-\xff]+|[\xc0-\xff][\x80-\xbf]*"),
}


@dataclass(frozen=True)
class WordRules:
    """The options that decide what a word is."""

    fold_case: bool = True  # not -s
    characters: bool = False  # -c
    keep_ascii: bool = False  # -c NOASCII
    drop_hyphens: bool = False  # -c DH
    utf8: bool = False  # -e utf-8
    fragments: bool = False  # -F
    optional: bool = False  # -D
    branching: re.Pattern[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        fragments = self.fragments and (self.keep_ascii or not self.characters)  # a character is no fragment
        marks = b"{@" + (b"-" if fragments else b"") + (b"(" if self.optional else b"")
        object.__setattr__(self, "branching", re.compile(b"[" + re.escape(marks) + b"]"))

    def folded(self, text: bytes) -> bytes:
        return text.lower() if self.fold_case else text

    def is_plain(self, text: bytes) -> bool:
        """True if the transcript has no alternations, optional words, fragments or empty words."""
        return not self.branching.search(text)

    def split(self, text: bytes) -> list[bytes]:
        """The words of a plain transcript."""
        if _DECORATION.search(text):
            return [piece for word in text.split() for piece in self._pieces(undecorated(word))]
        if not self.characters:
            return text.split()
        if self.drop_hyphens:
            text = _HYPHEN_IN_WORD.sub(b"", text)
        return self._character_pattern.findall(text)

    def _pieces(self, word: bytes) -> list[bytes]:
        return self.pieces_of(word) if self.characters and len(word) > 1 else [word]

    def pieces_of(self, word: bytes) -> list[bytes]:
        """The characters of a word, according to `-c` and its arguments."""
        kept = word.replace(b"-", b"") if self.drop_hyphens else word
        pieces = self._character_pattern.findall(kept)
        return pieces if pieces == [word] else [without_star(piece) for piece in pieces]

    @property
    def _character_pattern(self) -> re.Pattern[bytes]:
        return _CHARACTERS[self.utf8, self.keep_ascii]


def undecorated(word: bytes) -> bytes:
    """The word without tags, backslashes and final star; may be empty."""
    text = _TEXT_BEFORE_TAGS.match(word)
    return without_star(text.group().replace(b"\\", b"") if text else word)


def without_star(word: bytes) -> bytes:
    return word[:-1] if len(word) > 1 and word.endswith(b"*") else word
