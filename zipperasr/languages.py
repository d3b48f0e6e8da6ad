"""The table of languages: one line per language, keyed by code.

In: conf/languages.tsv. Out: `LanguageTable`. Everything that depends on the language (Whisper token, scoring unit,
normaliser, prompt) is a column of this table, so that a new language is one new line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, astuple, dataclass, fields
from pathlib import Path

from zipperasr.atomic import atomic_path
from zipperasr.cli import nearest
from zipperasr.text_lines import numbered_lines

UNITS = ("wer", "cer")
MARKS = ("", "keep")
MOST_LANGUAGES = 2000  # each has a bank in every layer


@dataclass(frozen=True)
class Language:
    """One line of the table. Columns with a default may be missing."""

    code: str  # key in file names, manifests and checkpoints
    whisper_token: str  # language token of Whisper's decoder, without <| |>; a proxy if Whisper has none
    name: str  # English name, for tables
    unit: str  # wer | cer
    normaliser: str  # a key of zipperasr.score.normalise.NORMALISERS
    prompt: str  # instruction before the speech, in the language itself
    marks: str = ""  # keep: always score a second time with combining marks kept; empty: only if references have some

    def __post_init__(self) -> None:
        for column, allowed in (("unit", UNITS), ("marks", MARKS)):
            if getattr(self, column) not in allowed:
                wanted = " or ".join(value or "no value" for value in allowed)
                raise ValueError(f"{self.code}: unknown {column} {getattr(self, column)!r}; {wanted}")


COLUMNS = tuple(field.name for field in fields(Language))
REQUIRED = tuple(field.name for field in fields(Language) if field.default is MISSING)


class LanguageTable:
    """Languages by code, in the table's order."""

    def __init__(self, languages: list[Language], path: str | Path = "languages.tsv"):
        self.path = Path(path)
        self._by_code = {language.code: language for language in languages}

    @classmethod
    def load(cls, path: str | Path) -> LanguageTable:
        """Read a tab-separated table with a header line. Raises ValueError with file and line."""
        path = Path(path)
        languages: dict[str, Language] = {}
        header: list[str] = []
        for number, line in numbered_lines(path):
            if line.startswith("#"):
                continue
            cells = [cell.strip() for cell in line.split("\t")]
            if not header:
                header = cells
                if tuple(header) not in (REQUIRED, COLUMNS):
                    raise ValueError(f"{path}:{number}: got columns {cells}, wanted {list(COLUMNS)}, tab separated")
                continue
            language = _language(cells, header, f"{path}:{number}")
            if language.code in languages:
                raise ValueError(f"{path}:{number}: language {language.code!r} is listed twice; remove one line")
            languages[language.code] = language
            if len(languages) > MOST_LANGUAGES:
                raise ValueError(f"{path}:{number}: more than {MOST_LANGUAGES:,} languages; keep those to be trained")
        if not languages:
            raise ValueError(f"{path}: no language in the table; wanted a header line and one line per language")
        return cls(list(languages.values()), path)

    def chosen(self, codes: Sequence[str]) -> LanguageTable:
        """Return a table of these languages, in this order."""
        return LanguageTable([self[code] for code in codes], self.path)

    def save(self, path: str | Path) -> None:
        """Write the table in the form that `load` reads, without optional columns that no language uses."""
        rows = [COLUMNS, *(astuple(language) for language in self)]
        width = len(COLUMNS) if any(language.marks for language in self) else len(REQUIRED)
        with atomic_path(path) as temporary:
            temporary.write_text("".join("\t".join(row[:width]).rstrip("\t") + "\n" for row in rows), encoding="utf-8")

    @property
    def codes(self) -> list[str]:
        return list(self._by_code)

    def __getitem__(self, code: str) -> Language:
        if code not in self._by_code:
            raise ValueError(f"unknown language {code!r}; {nearest(code, self.codes)}; or add it to {self.path}")
        return self._by_code[code]

    def __contains__(self, code: str) -> bool:
        return code in self._by_code

    def __iter__(self):
        return iter(self._by_code.values())

    def __len__(self) -> int:
        return len(self._by_code)


def _language(cells: list[str], header: list[str], where: str) -> Language:
    """Parse one line; optional columns at its end may be left out."""
    if not len(REQUIRED) <= len(cells) <= len(header) or not all(cells[: len(REQUIRED)]):
        wanted = " to ".join(str(count) for count in dict.fromkeys((len(REQUIRED), len(header))))
        raise ValueError(f"{where}: got {len(cells)} cells {cells}, wanted {wanted}, {len(REQUIRED)} not empty")
    try:
        return Language(*cells)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
