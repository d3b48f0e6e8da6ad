"""Read the utterances to evaluate on, by language.

In: a list in one of the formats of own data, or the directory of FLEURS. Out: `Utterances`, with the reason for each
utterance that is left out. Audio is not opened.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from zipperasr.corpora import find_corpus, fleurs
from zipperasr.corpora.own_data import language_code
from zipperasr.corpora.utterance import Utterance
from zipperasr.own_data.survey import recognise
from zipperasr.prepare.selection import clean_text


@dataclass
class Utterances:
    """What a list contains.

    Attributes:
        reader: its format, a key of CORPORA.
        languages: utterances by language code and id.
        left_out: why, one line per utterance; the first words name the line or the id.
    """

    path: Path
    reader: str
    languages: dict[str, dict[str, Utterance]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def leave_out_languages_except(self, known: Collection[str]) -> None:
        """Leave out the languages that a model does not have. Raises ValueError if none is left."""
        unknown = [code for code in self.languages if code not in known]
        for code in unknown:
            reason = f"language {code!r} is not one of the model's, {', '.join(known)}"
            self.left_out += [f"{utt}: {reason}" for utt in self.languages.pop(code)]
        if not self.languages:
            raise ValueError(f"{self.path}: {self.left_out[-1]}; choose other data, or another model")


def read_utterances(path: Path, lang: str | None = None, split: str = "test") -> Utterances:
    """Read a whole list.

    Args:
        lang: only this language, which is also that of utterances that name none.
        split: of FLEURS.

    Raises ValueError if the format is unknown or no utterance is left.
    """
    code = lang and language_code(lang, "--lang")
    reader, items = _items(path, code, split)
    found = Utterances(path, reader)
    for item in items:
        if isinstance(item, ValueError):
            found.left_out.append(str(item))
            continue
        utterance = item._replace(text=clean_text(item.text, lower_case=False), lang_code=item.lang_code or code or "")
        if code and utterance.lang_code != code:
            continue
        reason = _reason(utterance, found)
        if reason:
            found.left_out.append(f"{utterance.id}: {reason}")
        else:
            found.languages.setdefault(utterance.lang_code, {})[utterance.id] = utterance
    if not found.languages:
        first = f"; first: {found.left_out[0]}" if found.left_out else ""
        raise ValueError(f"{path} ({reader}): no utterance {f'in {code!r}' if code else 'to evaluate on'}{first}")
    return found


def _items(path: Path, code: str | None, split: str) -> tuple[str, Iterator[Utterance | ValueError]]:
    """The format, and the utterances with an error in place of bad ones."""
    folders = _fleurs_folders(path, split)
    if folders:
        return "fleurs", _fleurs_items(path, {one: folders[one] for one in folders if code in (None, one)}, split)
    reader = recognise(path)
    return reader, import_module(find_corpus(reader).module).FORMAT.scan(path)


def _fleurs_folders(path: Path, split: str) -> dict[str, Path]:
    """Directories of FLEURS's languages that have this split, by code; none for other data."""
    base = path / "data" if (path / "data").is_dir() else path
    folders = (table.parent for table in base.glob(f"*_*/{split}.tsv"))
    return dict(sorted((fleurs.language_of(folder.name), folder) for folder in folders))


def _fleurs_items(path: Path, folders: Mapping[str, Path], split: str) -> Iterator[Utterance | ValueError]:
    """The utterances of these languages, with an error in place of those whose audio is not unpacked.

    Raises ValueError if that of no language is.
    """
    audio = {code: folder / "audio" / split for code, folder in folders.items()}
    packed = {
        code: f"{place}: no such directory; {fleurs.REMEDY}" for code, place in audio.items() if not place.is_dir()
    }
    if folders and len(packed) == len(folders):
        raise ValueError(next(iter(packed.values())))
    for code in folders:
        for item in fleurs.scan(path, code, split):
            yield ValueError(f"{item.id}: {packed[code]}") if code in packed and isinstance(item, Utterance) else item


def _reason(utterance: Utterance, found: Utterances) -> str:
    """Why an utterance is left out; empty if it is not."""
    if not utterance.lang_code:
        return "no language; add a field `lang`, or give --lang CODE"
    if not utterance.text:
        return "no text"
    if utterance.id in found.languages.get(utterance.lang_code, {}):
        return "this id is in the list already"
    return ""
