"""LibriSpeech, as in OpenSLR 12.

[LibriSpeech/]{train-clean-100,...,test-other}/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac
SPEAKER-CHAPTER.trans.txt: `1272-128104-0000 MISTER QUILTER IS THE APOSTLE OF THE MIDDLE CLASSES`
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zipperasr.corpora.utterance import Utterance, require_directory
from zipperasr.text_lines import check_id, numbered_lines

REMEDY = "download the split's archive from openslr.org/12 and unpack it"


def read(root: Path, language: str, split: str) -> Iterator[Utterance]:
    """Yield the split's utterances, chapter by chapter."""
    if language != "en":
        raise ValueError(f"LibriSpeech has no language {language!r}; it is English (en)")
    require_directory(root, REMEDY)
    base = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
    folder = require_directory(base / split, REMEDY)
    chapters = sorted(folder.glob("*/*/*.trans.txt"))
    if not chapters:
        raise ValueError(f"{folder}: contains no SPEAKER/CHAPTER/*.trans.txt; {REMEDY}")
    for chapter in chapters:
        for number, line in numbered_lines(chapter):
            where = f"{chapter}:{number}"
            utt_id, blank, text = line.partition(" ")
            parts = check_id(utt_id, where).split("-")
            if not blank or len(parts) != 3 or not all(parts) or ".." in parts:
                raise ValueError(f"{where}: got {line[:60]!r}, wanted SPEAKER-CHAPTER-NUMBER and text; {REMEDY}")
            yield Utterance(utt_id, parts[0], f"{chapter.parent}/{utt_id}.flac", text, language)
