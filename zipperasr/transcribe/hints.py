"""Read phrases to prefer: `--hints`, and the field `prompt` of OpenAI's API."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from zipperasr.decode.phrases import Phrase
from zipperasr.text_lines import numbered_lines

MOST_HINTS = 5000
MOST_CHARACTERS = 200  # of a phrase; a longer one is no name or term
MOST_PROMPT_HINTS, MOST_PROMPT_BYTES = 200, 8000


def read_hints(path: Path, weight: float) -> tuple[Phrase, ...]:
    """Read a file with one phrase per line, and its own weight after a tab if it has one.

    Raises ValueError with file and line.
    """
    hints: dict[str, float] = {}
    for number, line in numbered_lines(path):
        phrase, *own = (part.strip() for part in line.split("\t"))
        try:
            (value,) = own or [str(weight)]
            hints[phrase] = float(value)
        except ValueError:
            hints[phrase] = math.nan
        if not phrase or not 0 < hints[phrase] < math.inf:
            raise ValueError(f"{path}:{number}: got {line!r}, wanted a phrase, then at most a tab and a weight above 0")
        if len(hints) > MOST_HINTS:
            raise ValueError(f"{path}:{number}: more than {MOST_HINTS:,} phrases; keep those that are likely")
        if len(phrase) > MOST_CHARACTERS:
            raise ValueError(f"{path}:{number}: {_too_long(phrase)}")
    return tuple(Phrase(*item) for item in hints.items())


def split_prompt(prompt: str, weight: float) -> tuple[Phrase, ...]:
    """Return the phrases of a prompt, which commas, semicolons and line breaks separate.

    Raises ValueError if the prompt, the number of phrases or one of them is too large.
    """
    size = len(prompt.encode())
    if size > MOST_PROMPT_BYTES:
        raise ValueError(f"got {size:,} bytes, wanted at most {MOST_PROMPT_BYTES:,}; keep the names that are likely")
    parts = (part.strip() for part in re.split(r"[,;\n、，；،]", prompt))
    phrases = as_phrases((part for part in parts if part), weight)
    if len(phrases) > MOST_PROMPT_HINTS:
        raise ValueError(
            f"got {len(phrases):,} phrases, wanted at most {MOST_PROMPT_HINTS}; keep the names that are likely"
        )
    return phrases


def as_phrases(texts: Iterable[str], weight: float) -> tuple[Phrase, ...]:
    """Return the distinct texts as phrases with the same weight. Raises ValueError if one is too long."""
    distinct = dict.fromkeys(texts)
    for text in distinct:
        if len(text) > MOST_CHARACTERS:
            raise ValueError(_too_long(text))
    return tuple(Phrase(text, weight) for text in distinct)


def _too_long(phrase: str) -> str:
    return (
        f"the phrase {phrase[:20]!r}... has {len(phrase):,} characters, wanted at most {MOST_CHARACTERS}; "
        "separate names and terms"
    )
