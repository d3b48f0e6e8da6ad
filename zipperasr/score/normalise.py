"""What is counted: text normalisation by name, and the split into words or graphemes.

In: a transcript. Out: normalised text, or its units. The normalisers come from the whisper-normalizer package;
`whisper` deletes combining marks (Thai vowels, Arabic points) as the paper's scoring does, `whisper_marks` keeps them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache

import regex

from zipperasr.cli import nearest


@cache
def _whisper(english: bool = False, keep_marks: bool = False) -> Callable[[str], str]:
    # Imported at first use: the English one reads its spelling table from disk.
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer() if english else BasicTextNormalizer(preserve_marks=keep_marks)


def whisper_en(text: str) -> str:
    """Whisper's English normaliser: spellings, contractions, titles; spelled numbers become digits."""
    return _whisper(english=True)(text).strip()


def whisper(text: str) -> str:
    """Whisper's basic normaliser: NFKC, lower case; marks, symbols and punctuation become spaces."""
    return _whisper()(text).strip()


def whisper_marks(text: str) -> str:
    """`whisper`, but combining marks (category M) stay."""
    return _whisper(keep_marks=True)(text).strip()


NORMALISERS: dict[str, Callable[[str], str]] = {
    "whisper_en": whisper_en,
    "whisper": whisper,
    "whisper_marks": whisper_marks,
}


def normaliser(name: str) -> Callable[[str], str]:
    """The normaliser of that name. Raises ValueError that names the nearest known."""
    if name not in NORMALISERS:
        raise ValueError(f"unknown normaliser {name!r}; {nearest(name, list(NORMALISERS))}")
    return NORMALISERS[name]


def split_units(text: str, unit: str) -> list[str]:
    """Words for `wer`; for `cer` extended grapheme clusters (UAX 29), spaces dropped.

    After `whisper` a cluster is one code point, as in the paper; `whisper_marks` leaves clusters of letter and marks.
    """
    words = text.split()
    return words if unit == "wer" else regex.findall(r"\X", "".join(words))


def has_marks(text: str) -> bool:
    """True if `whisper` would delete a combining mark from this text."""
    return any(unicodedata.category(char)[0] == "M" for char in unicodedata.normalize("NFKC", text))
