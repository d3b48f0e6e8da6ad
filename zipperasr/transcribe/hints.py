"""Read phrases to prefer: `--hints`, and the field `prompt` of OpenAI's API."""

from __future__ import annotations

import math
import re
from pathlib import Path

from zipperasr.decode.phrases import Phrase
from zipperasr.text_lines import numbered_lines

MOST_HINTS = 5000


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
    return tuple(Phrase(*item) for item in hints.items())


def split_prompt(prompt: str, weight: float) -> tuple[Phrase, ...]:
    """Return the phrases of a prompt, which commas, semicolons and line breaks separate."""
    parts = (part.strip() for part in re.split(r"[,;\n、，；،]", prompt))
    return tuple(Phrase(part, weight) for part in dict.fromkeys(parts) if part)[:MOST_HINTS]
