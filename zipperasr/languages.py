"""The language table: one line per language, keyed by code.

In: conf/languages.tsv. Out: `LanguageTable`. Everything that depends on the language (Whisper token, scoring
unit, normaliser, prompt) is looked up here, so that a new language is one new line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from zipperasr.atomic import atomic_path
from zipperasr.cli import nearest
from zipperasr.corpora.utterance import numbered_lines

UNITS = ("wer", "cer")
MOST_LANGUAGES = 2000  # each has a bank in every layer


@dataclass(frozen=True)
class Language:
    """One line of the table."""

    code: str  # key in file names, manifests and checkpoints
    whisper_token: str  # language token of Whisper's decoder, without <| |>; a proxy where Whisper has none
    name: str  # English name, for tables
    unit: str  # wer | cer
    normaliser: str  # a key of zipperasr.score.normalise.NORMALISERS
    prompt: str  # instruction before the speech, in the language itself


class LanguageTable:
    """Languages by code, in the table's order."""

    def __init__(self, languages: list[Language], path: str | Path = "languages.tsv"):
        self.path = Path(path)
        self._by_code = {language.code: language for language in languages}

    @classmethod
    def load(cls, path: str | Path) -> LanguageTable:
        """Read a tab-separated table with a header line. Raises ValueError with file and line."""
        path = Path(path)
        columns = [field.name for field in fields(Language)]
        languages: dict[str, Language] = {}
        header_seen = False
        for number, line in numbered_lines(path):
            if line.startswith("#"):
                continue
            cells = [cell.strip() for cell in line.split("\t")]
            if not header_seen:
                if cells != columns:
                    raise ValueError(f"{path}:{number}: got columns {cells}, wanted {columns}, tab separated")
                header_seen = True
                continue
            if len(cells) != len(columns) or not all(cells):
                raise ValueError(f"{path}:{number}: got {len(cells)} cells {cells}, wanted {len(columns)}, none empty")
            language = Language(*cells)
            if language.unit not in UNITS:
                raise ValueError(f"{path}:{number}: {language.code}: unknown unit {language.unit!r}; wer or cer")
            if language.code in languages:
                raise ValueError(f"{path}:{number}: language {language.code!r} stands in the table twice; remove one")
            languages[language.code] = language
            if len(languages) > MOST_LANGUAGES:
                raise ValueError(f"{path}:{number}: more than {MOST_LANGUAGES:,} languages; keep those to be trained")
        if not languages:
            raise ValueError(f"{path}: no language in the table; wanted a header line and one line per language")
        return cls(list(languages.values()), path)

    def chosen(self, codes: Sequence[str]) -> LanguageTable:
        """These languages, in this order."""
        return LanguageTable([self[code] for code in codes], self.path)

    def save(self, path: str | Path) -> None:
        """Write the table in the form that `load` reads."""
        rows = [[field.name for field in fields(Language)], *(astuple(language) for language in self)]
        with atomic_path(path) as temporary:
            temporary.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")

    @property
    def codes(self) -> list[str]:
        return list(self._by_code)

    def __getitem__(self, code: str) -> Language:
        if code not in self._by_code:
            raise ValueError(
                f"unknown language {code!r}; {nearest(code, self.codes)}; to add it, write its line in {self.path}"
            )
        return self._by_code[code]

    def __contains__(self, code: str) -> bool:
        return code in self._by_code

    def __iter__(self):
        return iter(self._by_code.values())

    def __len__(self) -> int:
        return len(self._by_code)
