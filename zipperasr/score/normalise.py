"""Text normalisation by name, and the split into the units that are counted: words or graphemes.

In: a transcript. Out: normalised text, or its units. The normalisers come from the whisper-normalizer package.
`whisper` deletes combining marks (Thai vowels, Arabic points) as the paper's scoring does; `whisper_marks` keeps them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache

import regex

from zipperasr.cli import nearest


@cache
def _whisper(english: bool = False, keep_marks: bool = False) -> Callable[[str], str]:
    # Imported on first use: the English normaliser reads its spelling table from disk.
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
    """`whisper` without deleting combining marks (category M)."""
    return _whisper(keep_marks=True)(text).strip()


NORMALISERS: dict[str, Callable[[str], str]] = {
    "whisper_en": whisper_en,
    "whisper": whisper,
    "whisper_marks": whisper_marks,
}


def normaliser(name: str) -> Callable[[str], str]:
    """Look up a normaliser. Raises ValueError with the most similar known name."""
    if name not in NORMALISERS:
        raise ValueError(f"unknown normaliser {name!r}; {nearest(name, list(NORMALISERS))}")
    return NORMALISERS[name]


def split_units(text: str, unit: str) -> list[str]:
    """Words for `wer`; extended grapheme clusters (UAX 29) without spaces for `cer`.

    After `whisper` a cluster is one code point, as in the paper; after `whisper_marks` it may be a letter with marks.
    """
    words = text.split()
    return words if unit == "wer" else regex.findall(r"\X", "".join(words))


def has_marks(text: str) -> bool:
    """True if `whisper` would delete a combining mark from this text."""
    return any(unicodedata.category(char)[0] == "M" for char in unicodedata.normalize("NFKC", text))
