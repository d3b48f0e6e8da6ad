"""Read a language file: a lexicon of slots and two sets of sentence patterns.

In: `xx.txt` with `[settings]` (script, length in characters, number of entries used per slot, default all). `[slot]`
starts a section of comma-separated entries, which may contain `{slots}`; `a=b` is written a and spoken b. Entries such
as `@months` come from CLDR and num2words (words.py). The sections `pretrain` and `recipe` have one pattern per line.
Out: `Grammar`. Grammatical agreement is left to the lexicon.
"""

from __future__ import annotations

import functools
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

from local.mini.texts.words import expand_directive

PATTERN_SETS = ("pretrain", "recipe")
FOLDER = Path(__file__).parent
SLOT = re.compile(r"\{(\w+)\}")
TRIES = 20  # draws of a slot before a repeated value is accepted


@dataclass
class Grammar:
    """One language's patterns, slots and pronunciations."""

    path: Path
    settings: dict[str, str] = field(default_factory=dict)  # see SETTINGS in generate.py
    patterns: dict[str, list[str]] = field(default_factory=dict)
    slots: dict[str, list[str]] = field(default_factory=dict)
    spoken: dict[str, str] = field(default_factory=dict)  # written token -> input of the synthesiser
    contractions: dict[str, str] = field(default_factory=dict)  # "de le" -> "du"

    def draw(self, patterns: str, rng: random.Random) -> str:
        """Fill a random pattern; values are not repeated in a sentence if the slots have enough."""
        return self.fill(rng.choice(self.patterns[patterns]), rng)

    def fill(self, text: str, rng: random.Random) -> str:
        """Replace the slots of `text`, a pattern or a part of one, by their values."""
        return self._fill(text, rng, set())

    def _fill(self, text: str, rng: random.Random, seen: set[str]) -> str:
        def value(match: re.Match) -> str:
            entries = self.slots[match.group(1)]
            for _ in range(TRIES):
                entry = rng.choice(entries)
                if entry not in seen:
                    break
            if not SLOT.search(entry):
                seen.add(entry)
            return self._fill(entry, rng, seen)

        return SLOT.sub(value, text)


@functools.cache
def languages() -> tuple[str, ...]:
    """Return the codes of the languages that have a file."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.txt")))


@functools.cache
def load(language: str) -> Grammar:
    """Read and check one language's file. Raises ValueError."""
    path = FOLDER / f"{language}.txt"
    if language not in languages():
        raise ValueError(
            f"unknown language {language!r}; there are texts for {', '.join(languages())}; "
            f"write local/mini/texts/{path.name}"
        )
    grammar = Grammar(path)
    section = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        try:
            _add_line(grammar, section, line, language)
        except ValueError as error:
            raise ValueError(f"{path.name}:{number}: {error}") from error
    _check(grammar)
    _thin(grammar)
    return grammar


def _add_line(grammar: Grammar, section: str, line: str, language: str) -> None:
    if section in PATTERN_SETS:
        grammar.patterns.setdefault(section, []).append(line)
    elif section == "settings":
        name, value = line.split(maxsplit=1)
        grammar.settings[name] = value
    elif line.startswith("@"):
        grammar.slots.setdefault(section, []).extend(expand_directive(line, language))
    else:
        for entry in (cell.strip() for cell in line.split(",")):
            if not entry:
                continue
            written, _, spoken = entry.partition("=")
            if section == "contractions":
                grammar.contractions[written] = spoken
                continue
            if spoken and grammar.spoken.setdefault(written, spoken) != spoken:
                raise ValueError(f"{written!r} is spoken {grammar.spoken[written]!r} and {spoken!r}; keep one")
            grammar.slots.setdefault(section, []).append(written)


def _thin(grammar: Grammar) -> None:
    """Keep `entries` entries of each slot, evenly spaced, to limit the vocabulary for small training sets."""
    most = int(grammar.settings.get("entries", 0))
    for name, entries in grammar.slots.items():
        if 0 < most < len(entries):
            grammar.slots[name] = [entries[index * len(entries) // most] for index in range(most)]


def _check(grammar: Grammar) -> None:
    name = grammar.path.name
    for wanted in PATTERN_SETS:
        if not grammar.patterns.get(wanted):
            raise ValueError(f"{name}: no pattern in section [{wanted}]; write at least one")
    twice = set(grammar.patterns["pretrain"]) & set(grammar.patterns["recipe"])
    if twice:
        raise ValueError(f"{name}: pattern {min(twice)!r} is in both sets; keep it in one")
    texts = [text for entries in (*grammar.patterns.values(), *grammar.slots.values()) for text in entries]
    for text in texts:
        missing = [slot for slot in SLOT.findall(text) if slot not in grammar.slots]
        if missing:
            raise ValueError(f"{name}: {text!r}: no section [{missing[0]}]; add it or correct the slot")
