"""Multilingual LibriSpeech, original release (OpenSLR 94), FLAC or Opus.

mls_german[_opus]/{train,dev,test}/audio/SPEAKER/BOOK/SPEAKER_BOOK_NUMBER.{flac,opus}
transcripts.txt: `4800_10003_000000<TAB>lower-case words without punctuation`
segments.txt (optional): `4800_10003_000000<TAB>URL of the book's mp3<TAB>401.76<TAB>417.57`, seconds in the book
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zipperasr.cli import nearest
from zipperasr.corpora.parallel_table import ParallelTable
from zipperasr.corpora.utterance import Utterance, require_directory, require_file
from zipperasr.text_lines import check_duration_s, check_id, numbered_lines

DIRECTORIES = {
    "de": "german", "en": "english", "es": "spanish", "fr": "french",
    "it": "italian", "nl": "dutch", "pl": "polish", "pt": "portuguese",
}  # fmt: skip
SUFFIXES = (".flac", ".opus")
REMEDY = "download and unpack mls_LANGUAGE.tar.gz or mls_LANGUAGE_opus.tar.gz from openslr.org/94"


def read(root: Path, language: str, split: str) -> Iterator[Utterance]:
    """Yield the split's utterances in the order of transcripts.txt."""
    folder = require_directory(language_directory(root, language) / split, REMEDY)
    transcripts = require_file(folder / "transcripts.txt", REMEDY)
    durations_s = ParallelTable(_durations(folder / "segments.txt"))
    suffix = None
    name, audio = str(transcripts), str(folder / "audio")
    for number, line in numbered_lines(transcripts):
        where = f"{name}:{number}"
        utt_id, tab, text = line.partition("\t")
        parts = check_id(utt_id, where).split("_")
        if not tab or len(parts) != 3 or not all(parts) or ".." in parts:
            raise ValueError(f"{where}: got {line[:60]!r}, wanted SPEAKER_BOOK_NUMBER<TAB>text; {REMEDY}")
        stem = f"{audio}/{parts[0]}/{parts[1]}/{utt_id}"
        suffix = suffix or _suffix(stem)
        yield Utterance(utt_id, parts[0], stem + suffix, text, language, duration_s=durations_s.get(utt_id))


def language_directory(root: Path, language: str) -> Path:
    """Return the directory of a language, of either codec."""
    if language not in DIRECTORIES:
        raise ValueError(f"MLS has no language {language!r}; {nearest(language, list(DIRECTORIES))}")
    require_directory(root, REMEDY)
    name = f"mls_{DIRECTORIES[language]}"
    found = [root / candidate for candidate in (name, f"{name}_opus") if (root / candidate).is_dir()]
    if not found:
        raise ValueError(f"{root}: contains neither {name} nor {name}_opus; {REMEDY}")
    return found[0]


def _suffix(stem: str) -> str:
    """Return the suffix of the first utterance's file; an archive has one codec. Stage 1 finds missing files."""
    return next((suffix for suffix in SUFFIXES if Path(stem + suffix).is_file()), SUFFIXES[0])


def _durations(segments: Path) -> Iterator[tuple[str, float]]:
    name = str(segments)
    for number, line in numbered_lines(segments) if segments.is_file() else ():
        cells = line.split("\t")
        try:
            yield cells[0], check_duration_s(float(cells[3]) - float(cells[2]), f"{name}:{number}")
        except (IndexError, ValueError) as error:
            raise ValueError(
                f"{name}:{number}: got {line[:60]!r}, wanted id, URL, start, end, tab separated; {REMEDY}"
            ) from error
