"""Find out what a list of utterances contains, and what stage 1 or the training would drop or refuse.

In: a list in one of the formats of `zipperasr.corpora`. Out: a `Survey`. Audio headers are read where the list gives no
duration.
"""

from __future__ import annotations

import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import soundfile

from zipperasr.audio.format_audio import FormatOptions
from zipperasr.audio.load import SAMPLE_RATE, open_entry
from zipperasr.audio.segments import num_positions
from zipperasr.corpora import find_corpus
from zipperasr.corpora.huggingface import shards_of
from zipperasr.corpora.utterance import Utterance
from zipperasr.prepare.probing import probe
from zipperasr.prepare.selection import clean_text

UNUSABLE, REPEATED = "cannot be used", "repeat an id"
NO_AUDIO, UNREADABLE, NO_TEXT, BAD_LENGTH, TOO_LONG = (
    "have no audio file",
    "have audio that cannot be read",
    "have no text",
    f"are not {FormatOptions.min_s} to {FormatOptions.max_s:g} s long",
    "are longer than a pack",
)
SAME_AUDIO, SAME_TEXT = "have the same recording and times as another", "have the same text as another"
ERRORS = (UNUSABLE, REPEATED)  # stage 1 stops
DROPPED = {  # and which stage does it
    NO_AUDIO: "stage 1",
    NO_TEXT: "stage 1",
    UNREADABLE: "stage 2",
    BAD_LENGTH: "stage 2, from training data",
    TOO_LONG: "the training",
}
FORMATS = (
    ".jsonl, .json, .csv, .tsv, .jsonl.gz (lhotse), .parquet or the directory of a data set (Hugging Face), or a data "
    "directory of Kaldi"
)
_EXAMPLES = 3
_HEADERS = 200  # whose sampling rates are counted
_BY_SUFFIX = {".csv": "csv", ".tsv": "csv", ".gz": "lhotse", ".parquet": "huggingface"}


@dataclass
class LanguageFacts:
    """The usable utterances in one language."""

    seconds: array = field(default_factory=lambda: array("d"))
    speakers: set[str] = field(default_factory=set)
    characters: Counter[str] = field(default_factory=Counter)

    @property
    def hours(self) -> float:
        return sum(self.seconds) / 3600


@dataclass
class Flaw:
    """Utterances with the same flaw."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        self.count += 1
        if self.count <= _EXAMPLES:
            self.examples.append(example)


@dataclass
class Survey:
    """What a list contains.

    Attributes:
        reader: its format, a key of CORPORA.
        languages: by code.
        flaws: by kind: UNUSABLE, REPEATED, NO_AUDIO, ...
        rates: sampling rate in Hz -> recordings, of the first ones.
        ids: (language, id) of all utterances.
    """

    path: Path
    reader: str
    languages: dict[str, LanguageFacts] = field(default_factory=dict)
    flaws: dict[str, Flaw] = field(default_factory=dict)
    rates: Counter[int] = field(default_factory=Counter)
    ids: set[tuple[str, str]] = field(default_factory=set)

    def add_flaw(self, kind: str, example: str) -> None:
        self.flaws.setdefault(kind, Flaw()).add(example)

    @property
    def num_errors(self) -> int:
        return sum(self.flaws[kind].count for kind in ERRORS if kind in self.flaws)


def recognise(path: Path) -> str:
    """The format of a list, a key of CORPORA. Raises ValueError."""
    if path.is_dir() and (path / "wav.scp").is_file():
        return "kaldi"
    if path.is_dir():
        shards_of(path)
        return "huggingface"
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix]
    if path.suffix not in (".jsonl", ".json"):
        raise ValueError(f"{path}: wanted {FORMATS}")
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        try:
            first = json.loads(stream.readline())
        except json.JSONDecodeError:
            first = None  # the reader names the line
    return "lhotse" if isinstance(first, dict) and "supervisions" in first else "jsonl"


def survey(path: Path, lang: str | None = None, max_positions: int | None = None) -> Survey:
    """Read a whole list.

    Args:
        lang: language of the utterances that name none.
        max_positions: capacity of a pack, to count utterances that do not fit.

    Raises ValueError if the format is unknown.
    """
    found = Survey(path, recognise(path))
    texts, places = set(), set()
    with tempfile.TemporaryDirectory() as scratch:
        for utterances, exist in probe(_usable(found, lang), Path(scratch) / "durations"):
            for utterance, audio_exists in zip(utterances, exist, strict=True):
                for kind, key, seen in (
                    (REPEATED, (utterance.lang_code, utterance.id), found.ids),
                    (SAME_AUDIO, (utterance.audio, utterance.start_s), places),
                    (SAME_TEXT, hash((utterance.lang_code, utterance.text)), texts),
                ):
                    if key in seen:
                        found.add_flaw(kind, utterance.id)
                    seen.add(key)
                _count(found, utterance, audio_exists, max_positions)
    return found


def _usable(found: Survey, lang: str | None) -> Iterator[Utterance]:
    scan = import_module(find_corpus(found.reader).module).FORMAT.scan
    for item in scan(found.path):
        if isinstance(item, ValueError):
            found.add_flaw(UNUSABLE, str(item))
        elif item.lang_code or lang:
            yield item if item.lang_code else item._replace(lang_code=lang)
        else:
            found.add_flaw(UNUSABLE, f"{item.id}: no language; add a field `lang`, or give --lang CODE")


def _count(found: Survey, utterance: Utterance, audio_exists: bool, max_positions: int | None) -> None:
    text, seconds = clean_text(utterance.text, lower_case=False), utterance.duration_s
    if not audio_exists:
        found.add_flaw(NO_AUDIO, f"{utterance.id} ({utterance.audio})")
        return
    if sum(found.rates.values()) < _HEADERS and not _header_is_readable(found, utterance):
        return
    if seconds == 0:
        found.add_flaw(UNREADABLE, f"{utterance.id} ({utterance.audio})")
    elif not text:
        found.add_flaw(NO_TEXT, utterance.id)
    else:
        if not FormatOptions.min_s <= seconds <= FormatOptions.max_s:
            found.add_flaw(BAD_LENGTH, f"{utterance.id} ({seconds:.1f} s)")
        elif max_positions and num_positions(round(seconds * SAMPLE_RATE)) > max_positions:
            found.add_flaw(TOO_LONG, f"{utterance.id} ({seconds:.1f} s)")
        facts = found.languages.setdefault(utterance.lang_code, LanguageFacts())
        facts.seconds.append(seconds)
        facts.speakers.add(utterance.speaker)
        facts.characters.update(text)


def _header_is_readable(found: Survey, utterance: Utterance) -> bool:
    try:
        with open_entry(utterance.audio) as recording:
            found.rates[recording.samplerate] += 1
    except (soundfile.LibsndfileError, ValueError, OSError) as error:
        reason = getattr(error, "error_string", error)
        found.add_flaw(UNREADABLE, f"{utterance.id} ({utterance.audio}: {reason})")
        return False
    return True
