"""Lists of utterances in common formats: what they share.

A format finds the file of a split, ROOT/[LANGUAGE/]SPLIT.SUFFIX, and yields its records; a record becomes an
`Utterance`. Relative audio paths start at the directory of the list. Utterances without a language have that of the
directory; without an id, one made from the audio path; without a speaker, the recording is the speaker.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from math import inf
from pathlib import Path
from typing import Any, Generic, TypeVar

from zipperasr.cli import nearest
from zipperasr.corpora.utterance import Utterance, require_directory
from zipperasr.text_lines import NOT_IN_ID, check_id, check_text, refuse_pipe

FIELDS = {  # names in use, in the manifests of NeMo, Qwen3-ASR, Hugging Face and others
    "audio": ("audio", "audio_filepath", "audio_path", "wav", "path"),
    "text": ("text", "sentence", "transcript", "transcription"),
    "lang": ("lang", "language", "locale", "source_lang"),
    "offset": ("offset", "start"),
    "duration": ("duration", "duration_s"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "id": ("id", "utt_id", "key"),
}
_QWEN_PREFIX = re.compile(r"language ([^<]+)<asr_text>")  # `language German<asr_text>Guten Tag`
_NO_LANGUAGE = "None"  # Qwen3-ASR: no speech, or not known
_URL = re.compile(r"[a-z][a-z0-9+.-]+://")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CODE = re.compile(r"([a-z]{2,3})([-_][a-z0-9]+)*")
_OTHER_CODES = {"cmn": "zh", "lao": "lo"}  # in use beside Whisper's
_NOT_IN_NAME = re.compile(r"[^\w.]|^\.+")
_IN_NAME = bytes(ord(_NOT_IN_NAME.sub("_", f"a{chr(code)}")[1]) if code < 128 else code for code in range(256))  # ASCII

DIRECTORY = ("",)  # the suffixes of a split that is a directory

Record = TypeVar("Record")


@dataclass(frozen=True)
class Format(Generic[Record]):
    """How utterances are listed.

    Attributes:
        suffixes: of the file of a split, or `DIRECTORY`.
        records: the records of a list, each with its location for errors. With a language, it may leave out records
            that certainly are in another one, which saves time.
        utterance: the utterance of a record, with `lang_code` "" if it names no language. Arguments: the record, its
            location, the list. Raises ValueError.
    """

    suffixes: tuple[str, ...]
    records: Callable[[Path, str | None], Iterator[tuple[str, Record]]]
    utterance: Callable[[Record, str, Path], Utterance]

    def read(self, root: Path, language: str, split: str) -> Iterator[Utterance]:
        """Yield the split's utterances in one language. Raises ValueError for the first bad record."""
        path = self.find(root, language, split)
        in_directory = language in path.parent.relative_to(root.parent).parts
        for where, record in self.records(path, language):
            utterance = self.utterance(record, where, path)
            if not utterance.lang_code:
                if not in_directory:
                    raise ValueError(f"{where}: no language; add a field `lang`, or move the list to {root / language}")
                utterance = utterance._replace(lang_code=language)
            if utterance.lang_code == language:
                yield utterance

    def scan(self, path: Path) -> Iterator[Utterance | ValueError]:
        """Yield all utterances of a list and, in place of bad ones, the error."""
        try:
            for where, record in self.records(path, None):
                try:
                    yield self.utterance(record, where, path)
                except ValueError as error:
                    yield error
        except ValueError as error:  # the rest cannot be read
            yield error

    def find(self, root: Path, language: str, split: str) -> Path:
        """The list of a split. Raises ValueError."""
        require_directory(root, "correct the root in corpora.yaml")
        candidates = [folder / f"{split}{suffix}" for folder in (root / language, root) for suffix in self.suffixes]
        is_list = Path.is_dir if self.suffixes == DIRECTORY else Path.is_file
        for path in candidates:
            if is_list(path):
                return path
        names = ", ".join(str(path.relative_to(root)) for path in candidates)
        raise ValueError(f"{root}: contains none of {names}; correct the root in corpora.yaml, or the split")


def utterance_of_fields(fields: Mapping[str, Any], where: str, path: Path) -> Utterance:
    """Make an utterance of a record with named fields. Raises ValueError that names the field."""
    found = [_first(fields, key) if type(key) is tuple else fields.get(key) for key in _keys_of_fields(tuple(fields))]
    if "" in found:
        found = [None if value == "" else value for value in found]
    audio_value, text_value, lang, offset, duration, speaker, utt_id = found
    audio = _audio(audio_value, where, path)
    text, lang_code = _text_and_language(text_value, lang, where)
    start_s = None if offset is None else _seconds(offset, where, "offset")
    duration_s = None if duration is None else _seconds(duration, where, "duration")
    end_s = None if start_s is None else end_of_segment(start_s, duration_s, where)
    recording = "" if utt_id is not None and speaker is not None else name_of_audio(audio, path)
    if utt_id is not None:
        utt_id = check_id(str(utt_id), where)
    else:
        utt_id = recording if start_s is None else f"{recording}_{round(start_s * 1000):08d}"
    name = recording if speaker is None else speaker_name(str(speaker), where)
    return Utterance(utt_id, name, audio, text, lang_code, start_s, end_s, duration_s)


def names_another_language(fields: Mapping[str, Any], language: str) -> bool:
    """True if the fields name a language other than `language`; False if they do not, or if it is unknown."""
    for key in FIELDS["lang"]:
        if isinstance(value := fields.get(key), str) and value:
            try:
                return _language_code(value) != language
            except ValueError:
                return False  # the utterance reports it
    return False


def end_of_segment(start_s: float, duration_s: float | None, where: str) -> float:
    """End in a recording. Raises ValueError for an empty segment."""
    if not duration_s:
        raise ValueError(f"{where}: got offset {start_s} and no duration; add the duration, in seconds")
    return start_s + duration_s


def name_of_audio(audio: str, path: Path) -> str:
    """A name made from an audio path, from the name of the list's directory on; names sort as Kaldi requires."""
    below = audio.removeprefix(_parent(path))
    name, dot, suffix = below.rpartition(".")
    if not dot or "/" in suffix or name[-1:] in ("", ".", "/"):
        name, suffix = os.path.splitext(below)
    if ":" in suffix:  # one of several in a file: an entry of an ark, or the row of a table
        name += f"_{suffix.rpartition(':')[2]}"
    if name.isascii() and not name.startswith("."):
        name = name.encode().translate(_IN_NAME).decode()  # a tenth of the time
    else:
        name = _NOT_IN_NAME.sub("_", name)
    return name.strip("_") or "_"


def speaker_name(speaker: str, where: str) -> str:
    """A speaker's name without whitespace and slashes."""
    if speaker.isascii() and speaker.isalnum():
        return speaker
    return check_id(NOT_IN_ID.sub("_", speaker.strip()), f"{where}: speaker")


def resolve_audio(name: str, where: str, path: Path) -> str:
    """The path of an audio file that a list names, relative to the list's directory."""
    if "://" in name and _URL.match(name):
        raise ValueError(f"{where}: got audio {name[:80]!r}, wanted a file; download it, or mount the object store")
    if not name.isprintable():
        check_text(name, where)
        if _CONTROL.search(name):
            raise ValueError(f"{where}: audio {name[:80]!r} contains control characters; rename the file")
    if "|" in name:
        refuse_pipe(name, where)
    path_of_audio = name if name.startswith("/") else f"{_directory(path)}/{name}"
    return os.path.normpath(path_of_audio) if "./" in name else path_of_audio


def language_code(name: str, where: str) -> str:
    """The code of a language: `de`, `de-DE`, `de_de` and `German` are `de`. Raises ValueError."""
    try:
        return _language_code(name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


@cache
def _language_code(name: str) -> str:
    lower = name.strip().lower()
    if match := _CODE.fullmatch(lower):
        return _OTHER_CODES.get(match[1], match[1])
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE  # takes a second

    if lower not in TO_LANGUAGE_CODE:
        raise ValueError(f"unknown language {name[:40]!r}; {nearest(lower, list(TO_LANGUAGE_CODE))}")
    return TO_LANGUAGE_CODE[lower]


@lru_cache(maxsize=16)
def _directory(path: Path) -> str:
    """The directory of a list, to which its audio paths are relative; that of the list itself if it is a link."""
    return str(path.resolve().parent)


@lru_cache(maxsize=16)
def _parent(path: Path) -> str:
    return f"{os.path.dirname(_directory(path))}/"


@lru_cache(maxsize=1024)
def _keys_of_fields(keys: tuple[str, ...]) -> tuple[str | tuple[str, ...] | None, ...]:
    """For each of FIELDS, the key of a record that names it; a tuple if there are several, the first name first."""
    found = (tuple(alias for alias in aliases if alias in keys) for aliases in FIELDS.values())
    return tuple(names if len(names) > 1 else names[0] if names else None for names in found)


def _first(fields: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """The first value that is neither missing nor empty."""
    for key in keys:
        value = fields[key]
        if value is not None and value != "":
            return value
    return None


def _audio(value: Any, where: str, path: Path) -> str:
    if isinstance(value, dict):  # as Hugging Face's datasets write it
        value = value.get("path")
    if not isinstance(value, str):
        raise ValueError(f"{where}: got audio {value!r}, wanted a path in one of {', '.join(FIELDS['audio'])}")
    return resolve_audio(value, where, path)


def _text_and_language(text: Any, lang: Any, where: str) -> tuple[str, str]:
    text, lang = "" if text is None else text, "" if lang is None else lang
    if not isinstance(text, str):
        raise ValueError(f"{where}: got text {str(text)[:40]}, wanted a string")
    if not isinstance(lang, str):
        raise ValueError(f"{where}: got language {str(lang)[:40]}, wanted a string")
    if text.startswith("language ") and (match := _QWEN_PREFIX.match(text)):
        text = text[match.end() :]
        lang = lang or ("" if match[1] == _NO_LANGUAGE else match[1])
    return text if text.isascii() else check_text(text, where), lang and language_code(lang, where)


def _seconds(value: Any, where: str, name: str) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = inf
    if not 0 <= seconds < inf:
        raise ValueError(f"{where}: got {name} {str(value)[:40]!r}, wanted seconds, 0 or more")
    return seconds
