"""The characters of a text that are aligned with its speech."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator


def characters(text: str) -> Iterator[str]:
    """Yield letters, marks and digits in lower case (NFKC); Korean syllables as their two or three letters."""
    for char in unicodedata.normalize("NFKC", text).lower():
        if "가" <= char <= "힣":
            yield from unicodedata.normalize("NFD", char)
        elif unicodedata.category(char)[0] in "LMN":
            yield char
