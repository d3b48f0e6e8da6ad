"""Words from CLDR (Babel) and num2words for `@` lines of a language file.

In: `@months`, `@weekdays`, `@territories FR IT`, `@languages en ja`, `@numbers 2 20`, `@ordinals 1 31` and a
language code. Out: a list of entries in that language, in CLDR's forms; a language that needs another case lists the
words in its own file.
"""

from __future__ import annotations

from babel import Locale
from num2words import num2words

NUM2WORDS_NAMES = {"pt": "pt_BR"}
CHINESE_DIGITS = "零一二三四五六七八九"


def expand_directive(line: str, language: str) -> list[str]:
    """`@numbers 2 5` -> ["two", "three", "four", "five"]. Raises ValueError for an unknown directive."""
    name, *arguments = line[1:].split()
    if name not in DIRECTIVES:
        raise ValueError(f"unknown directive @{name}; choose from {', '.join('@' + known for known in DIRECTIVES)}")
    return DIRECTIVES[name](language, *arguments)


def number(language: str, value: int) -> str:
    """Return a cardinal from 0 to 99 in words."""
    return _chinese(value) if language == "zh" else num2words(value, lang=NUM2WORDS_NAMES.get(language, language))


def _chinese(value: int) -> str:
    tens, ones = divmod(value, 10)
    if not tens:
        return CHINESE_DIGITS[ones]
    return ("" if tens == 1 else CHINESE_DIGITS[tens]) + "十" + (CHINESE_DIGITS[ones] if ones else "")


def _months(language: str) -> list[str]:
    names = Locale(language).months["format"]["wide"]
    return [names[month] for month in range(1, 13)]


def _weekdays(language: str) -> list[str]:
    names = Locale(language).days["format"]["wide"]
    return [names[day] for day in range(7)]


def _territories(language: str, *codes: str) -> list[str]:
    return [Locale(language).territories[code] for code in codes]


def _languages(language: str, *codes: str) -> list[str]:
    return [Locale(language).languages[code] for code in codes]


def _numbers(language: str, first: str, last: str) -> list[str]:
    return [number(language, value) for value in range(int(first), int(last) + 1)]


def _ordinals(language: str, first: str, last: str) -> list[str]:
    name = NUM2WORDS_NAMES.get(language, language)
    return [num2words(value, lang=name, to="ordinal") for value in range(int(first), int(last) + 1)]


DIRECTIVES = {
    "months": _months,
    "weekdays": _weekdays,
    "territories": _territories,
    "languages": _languages,
    "numbers": _numbers,
    "ordinals": _ordinals,
}
