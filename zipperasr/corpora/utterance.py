"""`Utterance`, which every corpus reader yields, and checks of a corpus's files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Utterance(NamedTuple):
    """One utterance of a corpus. Start and end are set if its audio file holds several utterances.

    A named tuple with a str path: corpora have millions of them, and a dataclass takes three times as long to create.
    """

    id: str  # the corpus's own id, as utterance lists write it
    speaker: str  # the corpus's own speaker; the recording if the corpus names no speakers
    audio: str  # path
    text: str
    lang_code: str
    start_s: float | None = None  # None: the whole file
    end_s: float | None = None
    duration_s: float | None = None  # None: not in the metadata


def require_directory(path: Path, remedy: str) -> Path:
    """Return `path`. Raises ValueError with the remedy unless it is a directory that is not empty."""
    if not path.is_dir():
        raise ValueError(f"{path}: no such directory; {remedy}")
    if next(path.iterdir(), None) is None:
        raise ValueError(f"{path}: the directory is empty; {remedy}")
    return path


def require_file(path: Path, remedy: str) -> Path:
    """Return `path`. Raises ValueError with the remedy unless it is a file."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {remedy}")
    return path
